package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tecken-upload/internal/testenv"
)

// restLimit is within what the server is to be idle again here: the 5 s that are promised, and 15 s more because tests of other
// packages run beside it, and its collector comes to its turn when they let it.
const restLimit = "20s"

// TestLoad builds the server once: that takes longer than some of the rest.
func TestLoad(t *testing.T) {
	if _, err := os.Stat(filepath.Join(testenv.Root(t), ".tools", "versitygw")); err != nil {
		testenv.Missing(t, "versitygw, an S3 server,", "scripts/test installs it")
	}
	server := build(t, "cmd/tecken-upload")
	t.Run("short form", func(t *testing.T) {
		// A program of its own, because the race detector would take most of the machine. Little room, so that some are refused.
		t.Setenv("TMPDIR", t.TempDir())
		var table, progress strings.Builder
		cmd := exec.CommandContext(t.Context(), build(t, "scripts/loadtest"), "-server", server, "-clients", "60", "-time", "20s",
			"-rest", restLimit, "-set", "TECKEN_MAX_RECEIVING=6", "-wait", "1s")
		cmd.Stdout, cmd.Stderr = &table, &progress
		if err := cmd.Run(); err != nil || strings.Contains(table.String(), "broken") {
			t.Fatalf("%v\n%s\n%s", err, progress.String(), table.String())
		}
		for _, promise := range []string{"0 errors in ", " objects equal, ", "60 concurrent clients of 4 tenants, 20s"} {
			if !strings.Contains(table.String(), promise) {
				t.Errorf("the table lacks %q:\n%s", promise, table.String())
			}
		}
		if strings.Contains(table.String(), " 0 × 429, 0 × 503,") {
			t.Errorf("nothing was refused, so that refusals were not tested:\n%s", table.String())
		}
		nothingLeft(t)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		table, progress, err := testRun(t, "-server", server, "-clients", "12", "-time", "2s", "-rest", restLimit,
			"-database", testenv.Postgres(t))
		if err != nil || !strings.Contains(table, "completed:") {
			t.Fatalf("%v\n%s\n%s", err, progress, table)
		}
	})
	t.Run("a broken promise", func(t *testing.T) {
		// A body that takes longer is a 504, which is no refusal.
		table, _, err := testRun(t, "-server", server, "-clients", "30", "-time", "4s", "-rest", restLimit,
			"-set", "TECKEN_RECEIVE_TIMEOUT=300ms")
		if err == nil || !strings.Contains(err.Error(), "an answer that is no refusal: 504") || !strings.Contains(table, "**broken**") {
			t.Errorf("got %v\n%s", err, table)
		}
	})
}

// testRun runs the program, and fails the test where it leaves anything behind.
func testRun(t *testing.T, args ...string) (table, progress string, err error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	var out, said strings.Builder
	err = run(t.Context(), args, &out, &said)
	nothingLeft(t)
	return out.String(), said.String(), err
}

func nothingLeft(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// build builds a program as releases are built.
func build(t *testing.T, dir string) (program string) {
	t.Helper()
	root := testenv.Root(t)
	program = filepath.Join(t.TempDir(), filepath.Base(dir))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-trimpath", "-o", program, filepath.Join(root, dir))
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", dir, err, out)
	}
	return program
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-clients", "1"}, {"-time", "1ms"}, {"-set", "PATH=/"}, {"-slots", "0"}, {"-wait", "-1s"}, {"-set", "TECKEN_ADMISSION_WAIT=0s"}, {"more"}, {"-unknown"}} {
		var out strings.Builder
		if err := run(t.Context(), args, &out, &out); err == nil {
			t.Errorf("%v is no error", args)
		}
	}
}
