package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/janitor"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/telemetry/sentrytest"
	"tecken-upload/internal/testenv"
)

// line is the tested part of a log line.
type line struct {
	Level, Msg, Err, Stack, Outcome, Exit, Stderr string
	Found, Reclaimed, Due, Failed                 int
	Name                                          string
	DryRun                                        bool `json:"dry_run"`
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
	makeSpool(t, dir)
	return dir, makeOrphan(t, dir)
}

func makeSpool(t *testing.T, dir string) {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func makeOrphan(t *testing.T, dir string) (orphan string) {
	t.Helper()
	orphan = filepath.Join(dir, "20260102T030405Z-abcdefghij23")
	if err := os.Mkdir(orphan, 0o700); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(orphan, then, then); err != nil {
		t.Fatal(err)
	}
	return orphan
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
		if want.DryRun && strings.Contains(stderr.String(), "reclaimed") {
			t.Errorf("a dry run says of something that it was reclaimed:\n%s", &stderr)
		}
		if code != exitOK || stdout.Len() > 0 {
			t.Errorf("exit %d, stdout %q", code, &stdout)
		}
		if diff := cmp.Diff([]line{want}, sweeps(lines(t, &stderr))); diff != "" {
			t.Error(diff)
		}
	}
	sweep(line{Level: "INFO", Msg: "sweep", Outcome: "ok", Found: 1}, "--orphan-age=2h")
	sweep(line{Level: "INFO", Msg: "sweep", Outcome: "ok", Found: 1, Due: 1, DryRun: true}, "--dry-run")
	if !exists(orphan) {
		t.Fatal("gone too early")
	}
	sweep(line{Level: "INFO", Msg: "sweep", Outcome: "ok", Found: 1, Reclaimed: 1})
	if exists(orphan) {
		t.Error("still there")
	}
}

func TestSweepCommandFails(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "letters"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ dir, level, err, kind string }{
		"no directory": {filepath.Join(home, "nowhere"), "WARN", "no such file", "spool missing"},
		"not a spool":  {home, "ERROR", "not a spool", "not a spool"},
		"a file":       {filepath.Join(home, "letters"), "ERROR", "not a directory", "sweep failed"},
	} {
		t.Run(name, func(t *testing.T) {
			sentry := sentrytest.NewServer()
			defer sentry.Close()
			env := environment("TECKEN_SPOOL_DIR="+tt.dir, "SENTRY_DSN="+sentry.DSN())
			for _, args := range [][]string{{"sweep", "--orphan-age=0s", "--dry-run"}, {"sweep", "--orphan-age=0s"}} {
				var stderr bytes.Buffer
				code := run(t.Context(), args, env, io.Discard, &stderr)
				all := lines(t, &stderr)
				if code != exitFailed || len(all) != 1 || all[0].Level != tt.level || !strings.Contains(all[0].Err, tt.err) {
					t.Errorf("%q: exit %d: %+v", args, code, all)
				}
			}
			// A dry run, made by hand, is not reported.
			events := sentry.Events()
			if len(events) != 1 || events[0].Exception[0].Type != tt.kind || len(sentry.CheckIns()) != 0 {
				t.Errorf("Sentry heard of %d events: %+v", len(events), events)
			}
		})
	}
	if !exists(filepath.Join(home, "letters")) {
		t.Error("what is no spool was swept")
	}
}

// TestSweepForTheLoop: what a sweep reports to the loop.
func TestSweepForTheLoop(t *testing.T) {
	dir, orphan := newSpool(t)
	hear := func(wantCode int) (all []janitor.Message) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"sweep", "--json"}, environment("TECKEN_SPOOL_DIR="+dir), &stdout, &stderr)
		if code != wantCode || stderr.Len() > 0 {
			t.Errorf("exit %d: %s", code, &stderr)
		}
		for text := range bytes.Lines(stdout.Bytes()) {
			m, err := janitor.Read(text)
			if err != nil {
				t.Error(err)
			}
			all = append(all, m)
		}
		return all
	}
	all := hear(exitOK)
	if len(all) != 2 || all[0].Autopsy == nil || all[0].Autopsy.Name != filepath.Base(orphan) || all[1].Report == nil || all[1].Report.Workspaces != 1 {
		t.Errorf("%+v", all)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if all = hear(exitFailed); len(all) != 1 || all[0].Kind != "spool missing" || !strings.Contains(all[0].Err, dir) {
		t.Errorf("%+v", all)
	}
}

func TestUsage(t *testing.T) {
	var stdout, stderr bytes.Buffer
	env := environment("TECKEN_SWEEP_INTERVAL=0s", "TECKEN_ORPHAN_AGE=-1s", "TECKEN_SPOOL_HEADROOM=much", "TECKEN_JANITOR_METRICS_LISTEN=8002")
	if code := run(t.Context(), []string{"--sweep-timeout=-1m"}, env, &stdout, &stderr); code != exitUsage {
		t.Errorf("exit %d", code)
	}
	for _, name := range []string{"TECKEN_SWEEP_INTERVAL", "TECKEN_ORPHAN_AGE", "TECKEN_SPOOL_HEADROOM", "TECKEN_SWEEP_TIMEOUT", "TECKEN_JANITOR_METRICS_LISTEN"} {
		if !strings.Contains(stderr.String(), name) {
			t.Errorf("nothing about %s: %s", name, &stderr)
		}
	}
	if code := run(t.Context(), []string{"--help"}, env, &stdout, &stderr); code != exitOK || !strings.Contains(stdout.String(), "--dry-run") &&
		!strings.Contains(stdout.String(), "sweep") {
		t.Errorf("help: exit %d: %s", code, &stdout)
	}
}

// TestLinks: the disk manager depends on the file system alone.
func TestLinks(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	list.Dir = filepath.Join(testenv.Root(t), "cmd", "disk-manager")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "tecken-upload/internal/janitor") || !slices.Contains(deps, "github.com/getsentry/sentry-go") {
		t.Fatalf("dependencies: %q", deps)
	}
	for _, dep := range deps {
		for _, not := range []string{
			"github.com/labstack/", "github.com/aws/", "database/sql", "modernc.org/", "github.com/jackc/", "github.com/pressly/",
			"github.com/redis/", "github.com/mholt/", "tecken-upload/internal/web", "tecken-upload/internal/upload", "tecken-upload/internal/archive", "tecken-upload/internal/storage", "tecken-upload/internal/record",
		} {
			if strings.HasPrefix(dep, not) {
				t.Errorf("links %s", dep)
			}
		}
	}
}
