package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

// The reader of both programs' log dies in the middle of an upload: a shipper that is restarted, head, a terminal.
func TestTheLogsReaderDies(t *testing.T) {
	t.Parallel()
	d := supervised(t)
	janitor := fmt.Sprint(d.waitLog("metrics served")["address"])
	h := d.hold(makeArchive(t, testarchive.Spec{Seed: 1}))
	d.waitReceiving(1)
	for _, pid := range d.pids("cat") { // the reader
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if r := h.finish(); r.Status != http.StatusCreated {
		t.Errorf("the upload in flight: answered %v", r)
	}
	server, manager := d.pids("tecken-upload", "serve"), d.pids("disk-manager", "run")
	for seed := range uint64(3) {
		d.expectPost(makeArchive(t, testarchive.Spec{Seed: 2 + seed}), http.StatusCreated)
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
		if is := d.pids(strings.Fields(name)...); len(is) != 1 || is[0] != was[0] {
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

// openFIFO opens a named pipe for reading, without waiting for a writer.
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
	site := newSite(t, nil)
	fifo = filepath.Join(site.Dir, "log")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader = openFIFO(t, fifo)
	writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // there is one from the beginning
	if err != nil {
		t.Fatal(err)
	}
	cmd := site.Command("tecken-upload")
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `exec "$0" 2>log`, cmd.Path}
	p := site.StartCommand(cmd)
	line := reader.until("serving")
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	d = &daemon{Site: site, Instance: &lab.Instance{Process: p, Address: fmt.Sprint(line["address"]), Metrics: fmt.Sprint(line["metrics"])}}
	d.waitDatabase()
	d.token = d.Token("ci@example.com")
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
		d.expectPost(makeArchive(d.TB, testarchive.Spec{Seed: seed + uint64(i), Bytes: 10_000, Members: 2}), http.StatusCreated)
	}
}

// A reader that comes back reads on.
func TestTheLogsReaderComesBack(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	d.expectExit(0)
}
