package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tecken-upload/internal/config"
	"tecken-upload/internal/janitor"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/testenv"
)

// line is what tests look at of a line of the log.
type line struct {
	Level, Msg, Err, Stack   string
	Found, Reclaimed, Failed int
	Name                     string
	DryRun                   bool `json:"dry_run"`
}

func lines(t *testing.T, log io.Reader) (all []line) {
	t.Helper()
	for d := json.NewDecoder(log); d.More(); {
		var l line
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// sweeps returns the lines of sweeps.
func sweeps(all []line) []line {
	return slices.DeleteFunc(slices.Clone(all), func(l line) bool { return l.Msg != "sweep" })
}

// environment is a lookup of "NAME=value" settings.
func environment(settings ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, s := range settings {
			if value, ok := strings.CutPrefix(s, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}

// newSpool makes a spool with one orphan in it, an hour old.
func newSpool(t *testing.T) (dir, orphan string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "spool")
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	orphan = filepath.Join(dir, "20260102T030405Z-abcdefghij23")
	if err := os.Mkdir(orphan, 0o700); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(orphan, then, then); err != nil {
		t.Fatal(err)
	}
	return dir, orphan
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestSweepCommand(t *testing.T) {
	dir, orphan := newSpool(t)
	sweep := func(want line, args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"sweep"}, args...), environment("TECKEN_SPOOL_DIR="+dir), &stdout, &stderr)
		if code != exitOK || stdout.Len() > 0 {
			t.Errorf("exit %d, stdout %q", code, &stdout)
		}
		if diff := cmp.Diff([]line{want}, sweeps(lines(t, &stderr))); diff != "" {
			t.Error(diff)
		}
	}
	sweep(line{Level: "INFO", Msg: "sweep", Found: 1}, "--orphan-age=2h")
	sweep(line{Level: "INFO", Msg: "sweep", Found: 1, Reclaimed: 1, DryRun: true}, "--dry-run")
	if !exists(orphan) {
		t.Fatal("gone too early")
	}
	sweep(line{Level: "INFO", Msg: "sweep", Found: 1, Reclaimed: 1})
	if exists(orphan) {
		t.Error("still there")
	}
}

func TestSweepCommandFails(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "letters"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ dir, level, err string }{
		"no directory": {filepath.Join(home, "nowhere"), "WARN", "no such file"},
		"not a spool":  {home, "ERROR", "not a spool"},
		"a file":       {filepath.Join(home, "letters"), "ERROR", "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := run(t.Context(), []string{"sweep", "--orphan-age=0s"}, environment("TECKEN_SPOOL_DIR="+tt.dir), io.Discard, &stderr)
			all := lines(t, &stderr)
			if code != exitFailed || len(all) != 1 || all[0].Level != tt.level || !strings.Contains(all[0].Err, tt.err) {
				t.Errorf("exit %d: %+v", code, all)
			}
		})
	}
	if !exists(filepath.Join(home, "letters")) {
		t.Error("what is no spool was swept")
	}
}

func TestUsage(t *testing.T) {
	var stdout, stderr bytes.Buffer
	env := environment("TECKEN_SWEEP_INTERVAL=0s", "TECKEN_ORPHAN_AGE=-1s", "TECKEN_SPOOL_HEADROOM=much")
	if code := run(t.Context(), []string{"--sweep-timeout=-1m"}, env, &stdout, &stderr); code != exitUsage {
		t.Errorf("exit %d", code)
	}
	for _, name := range []string{"TECKEN_SWEEP_INTERVAL", "TECKEN_ORPHAN_AGE", "TECKEN_SPOOL_HEADROOM", "TECKEN_SWEEP_TIMEOUT"} {
		if !strings.Contains(stderr.String(), name) {
			t.Errorf("nothing about %s: %s", name, &stderr)
		}
	}
	if code := run(t.Context(), []string{"--help"}, env, &stdout, &stderr); code != exitOK || !strings.Contains(stdout.String(), "--dry-run") &&
		!strings.Contains(stdout.String(), "sweep") {
		t.Errorf("help: exit %d: %s", code, &stdout)
	}
}

// TestLoopSurvives: whatever a sweep comes to, the next follows an interval later.
func TestLoopSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, orphan := newSpool(t)
		var log bytes.Buffer
		m := testManager(t, dir, &log)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sweep := m.sweep
		steps := []func(context.Context) (janitor.Report, error){
			func(context.Context) (janitor.Report, error) { panic("out of luck") },
			hang,
			func(ctx context.Context) (janitor.Report, error) { rename(t, dir, dir+"-away"); return sweep(ctx) },
			func(ctx context.Context) (janitor.Report, error) { rename(t, dir+"-away", dir); return sweep(ctx) },
			func(ctx context.Context) (janitor.Report, error) { cancel(); return sweep(ctx) },
		}
		var at []time.Duration
		began := time.Now()
		m.sweep = func(ctx context.Context) (janitor.Report, error) {
			at = append(at, time.Since(began))
			return steps[len(at)-1](ctx)
		}
		m.loop(ctx)
		if diff := cmp.Diff([]time.Duration{0, time.Minute, 6 * time.Minute, 7 * time.Minute, 8 * time.Minute}, at); diff != "" {
			t.Errorf("sweeps began at: %s", diff)
		}
		got := sweeps(lines(t, &log))
		want := []line{
			{Level: "ERROR", Err: "panic: out of luck"},
			{Level: "ERROR", Err: errTimeout.Error()},
			{Level: "WARN", Err: "open spool: open " + dir + ": no such file or directory"},
			{Level: "INFO", Found: 1, Reclaimed: 1},
			{Level: "WARN", Err: "sweep: list spool: context canceled"},
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(line{}, "Msg", "Stack")); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(got[0].Stack, "TestLoopSurvives") {
			t.Errorf("stack: %s", got[0].Stack)
		}
		if exists(orphan) {
			t.Error("the sweep after all these did nothing")
		}
	})
}

// hang is a sweep that does nothing until it is told to end.
func hang(ctx context.Context) (janitor.Report, error) {
	<-ctx.Done()
	return janitor.Report{}, context.Cause(ctx)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// testManager is a manager as its defaults make it, on another spool.
func testManager(t *testing.T, dir string, log io.Writer) *manager {
	t.Helper()
	var c cli
	if _, err := config.Parse(&c, "disk-manager", nil, environment("TECKEN_SPOOL_DIR="+dir), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	return newManager(&c.settings, newLogger(&c.settings, log), false)
}

// TestProgram starts the real program with nothing but its environment, and stops it.
func TestProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "disk-manager")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		dir, orphan := newSpool(t)
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = []string{"TECKEN_SPOOL_DIR=" + dir, "TECKEN_SWEEP_INTERVAL=1h"}
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		log := bufio.NewScanner(stderr)
		for log.Scan() && !strings.Contains(log.Text(), `"msg":"sweep"`) {
			t.Log(log.Text())
		}
		if exists(orphan) {
			t.Errorf("the orphan is still there: %s", log.Text())
		}
		told := time.Now()
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(stderr)
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || time.Since(told) > 5*time.Second {
			t.Errorf("%s: ended %s later with %v: %s", sig, time.Since(told), err, rest)
		}
	}
}

// TestLinks: the disk manager needs the file system alone, and so can't be brought down by anything else.
func TestLinks(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	list.Dir = filepath.Join(testenv.Root(t), "cmd", "disk-manager")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "tecken-upload/internal/janitor") {
		t.Fatalf("dependencies: %q", deps)
	}
	for _, dep := range deps {
		for _, not := range []string{
			"github.com/labstack/", "github.com/aws/", "database/sql", "modernc.org/", "github.com/jackc/", "github.com/pressly/",
			"github.com/redis/", "tecken-upload/internal/server", "tecken-upload/internal/storage", "tecken-upload/internal/record",
		} {
			if strings.HasPrefix(dep, not) {
				t.Errorf("links %s", dep)
			}
		}
	}
}
