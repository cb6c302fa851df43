package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A lab is what all rows of a run share: the options, completed, the programs, a directory. Nothing of it remains after close.
type lab struct {
	options
	dir       string // where everything is
	reference string // the program that inflates once
	gateway   string // versitygw
	progress  io.Writer
	begin     time.Time
	compared  comparison // of the run
}

// newLab makes a lab in a temporary directory, and builds the programs.
func newLab(ctx context.Context, o options, progress io.Writer) (_ *lab, err error) {
	root, err := goOutput(ctx, "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	if root == "" {
		return nil, errors.New("run it inside the repository")
	}
	l := &lab{options: o, progress: progress, begin: time.Now(), gateway: filepath.Join(root, ".tools", "versitygw")}
	if _, err := os.Stat(l.gateway); err != nil {
		return nil, fmt.Errorf("%w: scripts/bench builds it", err)
	}
	if l.dir, err = os.MkdirTemp("", "tecken-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.archives == "" {
		l.archives = filepath.Join(l.dir, "archives")
	}
	if err := os.MkdirAll(l.archives, 0o755); err != nil {
		return nil, err
	}
	if l.reference, err = l.build(ctx, root, "scripts/inflate"); err != nil {
		return nil, err
	}
	if l.server == "" {
		if l.server, err = l.build(ctx, root, "cmd/tecken-upload"); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *lab) close() error { return os.RemoveAll(l.dir) }

// say tells the user what goes on.
func (l *lab) say(format string, args ...any) {
	fmt.Fprintf(l.progress, "==> [%3.0f] %s\n", time.Since(l.begin).Seconds(), fmt.Sprintf(format, args...))
}

// build builds a program as scripts/test does, so that it is in the build cache.
func (l *lab) build(ctx context.Context, root, dir string) (string, error) {
	l.say("building %s", dir)
	program := filepath.Join(l.dir, filepath.Base(dir))
	_, err := goOutput(ctx, "build", "-buildvcs=false", "-o", program, filepath.Join(root, dir))
	return program, err
}

func goOutput(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// inflate runs the reference on an archive, and returns the CPU time it took.
func (l *lab) inflate(ctx context.Context, a *sample) (time.Duration, error) {
	out, err := exec.CommandContext(ctx, l.reference, a.file).Output()
	if err != nil {
		return 0, fmt.Errorf("inflate: %w", err)
	}
	for field := range strings.FieldsSeq(string(out)) {
		if value, ok := strings.CutPrefix(field, "cpu_seconds="); ok {
			return time.ParseDuration(value + "s")
		}
	}
	return 0, fmt.Errorf("inflate printed %q", out)
}
