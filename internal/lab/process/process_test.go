package process_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tecken-upload/internal/lab/process"
)

// parent makes TestMain play the part of a process that starts another, and is killed.
var parent = flag.Bool("parent", false, "start a program, and wait")

func TestMain(m *testing.M) {
	if flag.Parse(); !*parent {
		os.Exit(m.Run())
	}
	p, err := process.Start(exec.Command("sleep", "600"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, p.PID())
	<-p.Exited()
}

func shell(t *testing.T, script string, copies ...io.Writer) *process.Process {
	t.Helper()
	p, err := process.Start(exec.Command("/bin/sh", "-c", script), copies...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestOutput(t *testing.T) {
	var log bytes.Buffer
	p := shell(t, `echo '{"msg":"begun","n":1}'; echo trace >&2; echo '{"msg":"up","n":2}'; printf part; exit 3`, &log)
	e, err := p.Logged(t.Context(), "up")
	if err != nil || e.Text("n") != "2" || e.Text("missing") != "" {
		t.Errorf("logged %v (%v)", e, err)
	}
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "trace") {
		t.Errorf("it ended with %v", err)
	}
	want := []string{`{"msg":"begun","n":1}`, "trace", `{"msg":"up","n":2}`}
	if got := p.Lines(); !slices.Equal(got, want) {
		t.Errorf("lines %q", got)
	}
	if got := log.String(); got != strings.Join(want, "\n")+"\npart" {
		t.Errorf("the copy is %q", got)
	}
	if _, err := p.Logged(t.Context(), "trace"); err == nil || !strings.Contains(err.Error(), `before it logged "trace"`) {
		t.Errorf("waited for what is no entry: %v", err)
	}
	for line, ok := range map[string]bool{want[0]: true, "trace": false, "null": false, "[1]": false} {
		if _, got := process.ParseEntry(line); got != ok {
			t.Errorf("%s is an entry: %t", line, got)
		}
	}
}

func TestWaitsEndWithTheirContext(t *testing.T) {
	p := shell(t, "sleep 600")
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := p.Logged(ctx, "up"); !errors.Is(err, cause) {
		t.Error(err)
	}
	if err := p.Until(ctx, "wait", func(context.Context) bool { return false }); !errors.Is(err, cause) {
		t.Error(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	err := p.Until(t.Context(), "wait", func(context.Context) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Error(err)
	}
}

func TestStop(t *testing.T) {
	for script, want := range map[string]string{
		`trap 'exit 0' TERM; echo '{"msg":"up"}'; while :; do sleep 0.01; done`: "",
		`trap 'exit 7' TERM; echo '{"msg":"up"}'; while :; do sleep 0.01; done`: "exit status 7",
		`echo '{"msg":"up"}'; exec sleep 600`:                                   "signal: terminated",
	} {
		p := shell(t, script)
		if _, err := p.Logged(t.Context(), "up"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := p.Stop(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: stopped with %v", script, err)
			}
		}
	}
}

// What a program has used can be asked for while it runs, its time afterwards as well.
func TestUsed(t *testing.T) {
	p := shell(t, `trap 'exit 0' TERM; exec 3</dev/null; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo '{"msg":"up"}'; while :; do sleep 0.01; done`)
	if _, err := p.Logged(t.Context(), "up"); err != nil {
		t.Fatal(err)
	}
	running, err1 := p.CPU()
	resident, err2 := p.Memory("VmRSS")
	_, missing := p.Memory("VmNone")
	files, err3 := p.Files("/dev/null")
	if err := errors.Join(err1, err2, err3, p.Stop()); err != nil || missing == nil || running <= 0 || resident <= 0 || files < 1 {
		t.Errorf("%v, %d bytes, %d files (%v, %v)", running, resident, files, err, missing)
	}
	if all, err := p.CPU(); err != nil || all <= 0 {
		t.Errorf("%v in all (%v)", all, err)
	}
}

func TestMissingProgram(t *testing.T) {
	if _, err := process.Start(exec.Command("/missing/program")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// What a process has started ends with it, though it is killed.
func TestEndsWithItsParent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(exec.Command(self, "-parent"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Until(t.Context(), "start", func(context.Context) bool { return len(p.Lines()) > 0 }); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(p.Lines()[0])
	if err != nil {
		t.Fatalf("%v: %q", err, p.Lines())
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	// One that is dead and not yet reaped has no memory.
	watch := shell(t, fmt.Sprintf("while grep -q VmRSS /proc/%d/status 2>/dev/null; do sleep 0.01; done", pid))
	if err := watch.Err(); err != nil {
		t.Error(err)
	}
}
