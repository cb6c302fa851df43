package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/testarchive"
)

// The reader of both programs' log dies in the middle of an upload: a shipper that is restarted, head, a terminal.
func TestTheLogsReaderDies(t *testing.T) {
	d := supervised(t)
	janitor := fmt.Sprintf("http://%s/metrics", d.waitLog("metrics served")["address"])
	content, _ := makeArchive(t, testarchive.Spec{Seed: 1})
	g := newGated(content)
	upload := d.posting(g.write)
	d.waitReceiving(g)
	if err := d.stderr.Close(); err != nil {
		t.Fatal(err)
	}
	close(g.rest)
	if r := <-upload; r.status != http.StatusCreated {
		t.Errorf("the upload in flight: status %d, %s", r.status, r.err)
	}
	server, manager := pids(t, "tecken-upload", "serve"), pids(t, "disk-manager", "run")
	for seed := range uint64(3) {
		content, _ := makeArchive(t, testarchive.Spec{Seed: 2 + seed})
		if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
			t.Errorf("an upload without a log: status %d, %s", r.status, r.err)
		}
	}
	if lost := d.metric("tecken_log_lines_lost_total"); lost < 4 {
		t.Errorf("the server counted %v lost lines, of 4 uploads or more", lost)
	}
	const sweeps = `tecken_janitor_sweeps_total{result="ok"}`
	before := d.metricAt(janitor, sweeps)
	d.eventually("the disk manager sweeps on", func() bool { return d.metricAt(janitor, sweeps) > before })
	if lost := d.metricAt(janitor, "tecken_log_lines_lost_total"); lost == 0 {
		t.Error("the disk manager counted no lost line")
	}
	for name, was := range map[string][]int{"tecken-upload serve": server, "disk-manager run": manager} {
		if is := pids(t, strings.Fields(name)...); len(is) != 1 || is[0] != was[0] {
			t.Errorf("%s was the process %d, and is %d", name, was, is)
		}
	}
}

// A shipper reads a log from a named pipe.
type shipper struct {
	*testing.T
	file  *os.File
	lines *bufio.Scanner
}

// openFIFO opens a named pipe for reading, without waiting for somebody who writes.
func openFIFO(t *testing.T, path string) *shipper {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &shipper{T: t, file: f, lines: bufio.NewScanner(f)}
}

// until reads up to the next line with that message.
func (s *shipper) until(msg string) (line map[string]any) {
	s.Helper()
	if err := s.file.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.Fatal(err)
	}
	for s.lines.Scan() {
		if err := json.Unmarshal(s.lines.Bytes(), &line); err == nil && line["msg"] == msg {
			return line
		}
	}
	s.Fatalf("no line %q: %v", msg, s.lines.Err())
	return nil
}

// startOnFIFO starts the server with a named pipe for its log.
func startOnFIFO(t *testing.T) (d *daemon, fifo string, reader *shipper) {
	t.Helper()
	d = &daemon{T: t, dir: t.TempDir()}
	d.token = d.makeToken(nil)
	fifo = filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader = openFIFO(t, fifo)
	writer, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.cmd = exec.Command(program(t, "tecken-upload"))
	d.cmd.Dir, d.cmd.Env, d.cmd.Stderr = d.dir, environ(nil), writer
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	d.exited = make(chan error, 1)
	go func() { d.exited <- d.cmd.Wait() }()
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	line := reader.until("serving")
	d.url, d.metrics = fmt.Sprintf("http://%s", line["address"]), fmt.Sprintf("http://%s/metrics", line["metrics"])
	d.waitDatabase()
	return d, fifo, reader
}

// shrink leaves room in the pipe for a few lines.
func (s *shipper) shrink() {
	s.Helper()
	raw, err := s.file.SyscallConn()
	if err == nil {
		err = errors.Join(err, raw.Control(func(fd uintptr) { _, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 4096) }))
	}
	if err != nil {
		s.Fatal(err)
	}
}

// postSmall posts so many small archives, each of which leaves a line in the log.
func (d *daemon) postSmall(n int, seed uint64) {
	d.Helper()
	for i := range n {
		content, _ := makeArchive(d.T, testarchive.Spec{Seed: seed + uint64(i), Bytes: 10_000, Members: 2})
		if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
			d.Errorf("upload %d: status %d, %s", i, r.status, r.err)
		}
	}
}

// A reader that comes back reads on.
func TestTheLogsReaderComesBack(t *testing.T) {
	d, fifo, reader := startOnFIFO(t)
	if err := reader.file.Close(); err != nil {
		t.Fatal(err)
	}
	d.postSmall(2, 1)
	lost := d.metric("tecken_log_lines_lost_total")
	if lost < 2 {
		t.Errorf("%v lines are lost, of 2 uploads or more", lost)
	}
	again := openFIFO(t, fifo)
	d.postSmall(1, 3)
	again.until("upload ended")
	if now := d.metric("tecken_log_lines_lost_total"); now != lost {
		t.Errorf("%v more lines are lost", now-lost)
	}
}

// A reader that stops reading holds up neither uploads nor the end of the process. What waits for it, it gets when it reads again.
func TestTheLogsReaderStopsReading(t *testing.T) {
	d, _, reader := startOnFIFO(t)
	reader.shrink()
	const uploads = 20 // of which each leaves a KiB or so
	d.postSmall(uploads, 1)
	if lost := d.metric("tecken_log_lines_lost_total"); lost != 0 {
		t.Errorf("%v lines are lost", lost)
	}
	for range uploads {
		reader.until("upload ended")
	}
	d.postSmall(uploads, 100)
	d.signal(syscall.SIGTERM)
	if code := d.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
