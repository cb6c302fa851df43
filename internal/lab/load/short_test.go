package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/testenv"
)

// restLimit is within what the server is to be idle again here: tests of other packages run beside it, and its collector comes to its
// turn when they let it.
const restLimit = testenv.Patience

// TestLoad builds the server once: that takes longer than some of the rest.
func TestLoad(t *testing.T) {
	if _, err := os.Stat(filepath.Join(testenv.Root(t), ".tools", "versitygw")); err != nil {
		testenv.Missing(t, "versitygw, an S3 server,", "scripts/test installs it")
	}
	server := build(t, "cmd/tecken-upload")
	t.Run("PostgreSQL", func(t *testing.T) {
		// A program of its own, because the race detector would take most of the machine. Little room, so that some are refused; more places
		// than there are clients in the end, of whom none is to be.
		t.Setenv("TMPDIR", t.TempDir())
		var table, progress strings.Builder
		cmd := exec.CommandContext(t.Context(), build(t, "scripts/loadtest"), "-server", server, "-clients", "40", "-time", "3s",
			"-rest", restLimit.String(), "-set", "TECKEN_MAX_RECEIVING=4", "-wait", "100ms", "-database", testenv.Postgres(t))
		cmd.Stdout, cmd.Stderr = &table, &progress
		if err := cmd.Run(); err != nil || strings.Contains(table.String(), "broken") {
			t.Fatalf("%v\n%s\n%s", err, progress.String(), table.String())
		}
		for _, promise := range []string{"0 errors in ", " objects equal, ", "completed:", "40 concurrent clients of 4 tenants, 3s"} {
			if !strings.Contains(table.String(), promise) {
				t.Errorf("the table lacks %q:\n%s", promise, table.String())
			}
		}
		if strings.Contains(table.String(), " 0 × 429, 0 × 503,") {
			t.Errorf("nothing was refused, so that refusals were not tested:\n%s", table.String())
		}
		nothingLeft(t)
	})
	t.Run("SQLite, a broken promise", func(t *testing.T) {
		// A body that takes longer is a 504, which is no refusal. The slow ones do: most of them take up to a quarter of the run.
		limit := testenv.Slack(t, 200*time.Millisecond)
		table, err := testRun(t, "-server", server, "-clients", "30", "-time", (15 * limit).String(), "-rest", restLimit.String(),
			"-set", "TECKEN_RECEIVE_TIMEOUT="+limit.String())
		if err == nil || !strings.Contains(err.Error(), "an answer that is no refusal: 504") || !strings.Contains(table, "**broken**") || !strings.Contains(table, "completed:") {
			t.Errorf("got %v\n%s", err, table)
		}
	})
}

// testRun runs the program, and fails the test where it leaves anything behind.
func testRun(t *testing.T, args ...string) (table string, err error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	var out, said strings.Builder
	err = run(t.Context(), args, &out, &said)
	nothingLeft(t)
	return out.String(), err
}

func nothingLeft(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// build builds a program as scripts/test does, so that it is in the build cache.
func build(t *testing.T, dir string) (program string) {
	t.Helper()
	root := testenv.Root(t)
	program = filepath.Join(t.TempDir(), filepath.Base(dir))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, filepath.Join(root, dir))
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
