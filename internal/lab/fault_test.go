package lab

import (
	"context"
	"os/exec"
	"slices"
	"testing"

	"tecken-upload/internal/lab/process"
	"tecken-upload/internal/testenv"
)

// Calls fail while they are made to, and no longer.
func TestInjectedCalls(t *testing.T) {
	if !canTrace(t.Context()) {
		testenv.Missing(t, "strace", "scripts/test installs Debian's package strace; the kernel may forbid it.")
	}
	p, err := process.Start(exec.Command("/bin/sh", "-c", "while :; do if true </dev/null; then echo good; else echo bad; fi; sleep 0.01; done"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	until := func(line string) {
		t.Helper()
		seen := len(p.Lines())
		if err := p.Until(t.Context(), "wait", func(context.Context) bool { return slices.Contains(p.Lines()[seen:], line) }); err != nil {
			t.Fatal(err)
		}
	}
	until("good")
	detach, err := trace(t.Context(), p, "trace=openat", "inject=openat:error=EIO")
	if err != nil {
		t.Fatal(err)
	}
	until("bad")
	if err := detach(t.Context()); err != nil {
		t.Fatal(err)
	}
	until("good")
}
