package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is one of the two programs, running.
type process struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
}

// A server is a tecken-upload that listens.
type server struct {
	*process
	url, token string
}

// environ is all that the programs get to know.
func (d *drill) environ(headroom int64) []string {
	return []string{
		"TECKEN_SPOOL_DIR=" + d.disk.spool,
		"TECKEN_SPOOL_HEADROOM=" + strconv.FormatInt(headroom/mib, 10) + "MiB",
		"TECKEN_LISTEN=127.0.0.1:0", "TECKEN_METRICS_LISTEN=127.0.0.1:0", "TECKEN_JANITOR_METRICS_LISTEN=127.0.0.1:0",
		"TECKEN_ORPHAN_AGE=" + orphanAge.String(),
		"TECKEN_SWEEP_INTERVAL=" + sweepInterval.String(),
		"TECKEN_DISK_FULL_WINDOW=" + fullWindow.String(),
		"TECKEN_DISK_FULL_THRESHOLD=" + strconv.Itoa(fullThreshold),
		"TECKEN_ADMISSION_WAIT=" + admissionWait.String(),
		"TECKEN_SHUTDOWN_DELAY=0s",
	}
}

func (d *drill) program(name string) string { return filepath.Join(d.dir, "bin", name) }

// makeToken runs "token create" as an operator does.
func (d *drill) makeToken(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, d.program("tecken-upload"), "token", "create", "--user", "drill@example.com", "--permission", "upload_symbols")
	cmd.Dir, cmd.Env = d.dir, d.environ(d.disk.headroom)
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("token create: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// start runs a program with a log file of its own. It dies with the drill, but not of the Ctrl-C that ends that.
func (d *drill) start(name, log string, headroom int64) (_ *process, err error) {
	p := &process{log: filepath.Join(d.dir, log), exited: make(chan struct{})}
	f, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	p.cmd = exec.Command(d.program(name))
	p.cmd.Dir, p.cmd.Env = d.dir, d.environ(headroom)
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // that it ended tells enough: most are killed
		close(p.exited)
	}()
	return p, nil
}

func (d *drill) startJanitor() (*process, error) {
	return d.start("disk-manager", "disk-manager.log", headroom)
}

// startServer starts the server and waits until it takes uploads.
func (d *drill) startServer(ctx context.Context) (*server, error) {
	log := "tecken-upload.log"
	if d.server != nil {
		log = "tecken-upload-again.log"
	}
	p, err := d.start("tecken-upload", log, d.disk.headroom)
	if err != nil {
		return nil, err
	}
	s := &server{process: p, token: d.token}
	ready, err := until(ctx, patience, func() bool {
		s.url = p.serving()
		return s.url != "" && heartbeat(ctx, s.url+"/__heartbeat__") == green
	})
	if err != nil || !ready {
		p.stop()
		said, _ := os.ReadFile(p.log)
		return nil, errors.Join(err, fmt.Errorf("the server does not get ready:\n%s", said))
	}
	return s, nil
}

// serving finds in the log where the server listens; "" while it does not.
func (p *process) serving() string {
	text, _ := os.ReadFile(p.log)
	for line := range bytes.Lines(text) {
		var said struct{ Msg, Address string }
		if json.Unmarshal(line, &said) == nil && said.Msg == "serving" {
			return "http://" + said.Address
		}
	}
	return ""
}

// kill is kill -9. It returns when the process is no more.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // the error is that it has ended
	<-p.exited
}

// stop ends the process with a SIGTERM first. A process that has ended is left alone.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // the error is that it has ended
	select {
	case <-p.exited:
	case <-time.After(termPatience):
		p.kill()
	}
}
