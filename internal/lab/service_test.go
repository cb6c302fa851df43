package lab_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tecken-upload/internal/lab"
)

// startService starts a shell script that counts its runs in a file named runs.
func startService(t *testing.T, script string) (s *lab.Service, log *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	log = new(bytes.Buffer)
	s, err := lab.StartService(t.Context(), func() *exec.Cmd {
		cmd := exec.Command("/bin/sh", "-c", "echo >>runs; run=$(wc -l <runs); "+script)
		cmd.Dir = dir
		return cmd
	}, "up", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s, log
}

const serves = `trap 'exit 0' TERM; echo '{"msg":"up","address":"address '$run'"}'; while :; do sleep 0.01; done`

func TestServiceIsStartedAgain(t *testing.T) {
	s, log := startService(t, serves)
	for life, end := range []func() error{s.Kill, s.Terminate, s.Kill} {
		if err := s.Serving(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := "address " + string(rune('1'+life)); s.Life() != life+1 || s.Served().Text("address") != want {
			t.Errorf("life %d logged %q, want life %d and %q", s.Life(), s.Served().Text("address"), life+1, want)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Serving(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Pause(); !errors.Is(err, lab.ErrMissed) || !errors.Is(s.Kill(), lab.ErrMissed) || !errors.Is(s.Terminate(), lab.ErrMissed) {
		t.Errorf("what has ended can be paused (%v), killed or terminated", err)
	}
	if len(s.Ends()) > 0 || len(s.Traces()) > 0 {
		t.Errorf("ends %v, traces %q", s.Ends(), s.Traces())
	}
	if n := strings.Count(log.String(), `"up"`); n != 4 {
		t.Errorf("%d lives in the log", n)
	}
}

func TestServiceThatEndsByItself(t *testing.T) {
	s, _ := startService(t, `[ $run -gt 2 ] || { echo "panic: $run" >&2; exit 2; }; `+serves)
	if err := s.Serving(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.Served().Text("address"); got != "address 3" {
		t.Errorf("it serves as %q", got)
	}
	if ends := s.Ends(); len(ends) != 2 || !strings.Contains(ends[1].Error(), "exit status 2\npanic: 2") {
		t.Errorf("ends %v", ends)
	}
	if traces := s.Traces(); !slices.Equal(traces, []string{"panic: 1", "panic: 2"}) {
		t.Errorf("traces %q", traces)
	}
}

func TestServiceThatEndsBadly(t *testing.T) {
	s, _ := startService(t, strings.Replace(serves, "exit 0", "exit 5", 1))
	if err := s.Serving(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err == nil || !strings.Contains(err.Error(), "exit status 5") {
		t.Error(err)
	}
}

func TestServiceThatIsMissing(t *testing.T) {
	_, err := lab.StartService(t.Context(), func() *exec.Cmd { return exec.Command(filepath.Join(t.TempDir(), "missing")) }, "up", os.Stderr)
	if err == nil {
		t.Error("it was started")
	}
}
