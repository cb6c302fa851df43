package spool_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/spool/spooltest"
)

// own is the server that gets killed: it holds 24 MiB and says so.
func own(dir string) {
	ctx := context.Background()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		panic(err)
	}
	w, err := s.Create(ctx, 16*MiB)
	if err != nil {
		panic(err)
	}
	if _, err := w.Receive(ctx, bytes.NewReader(body(16*MiB)), 16*MiB); err != nil {
		panic(err)
	}
	x, err := w.Scratch(ctx)
	if err != nil {
		panic(err)
	}
	if _, err := x.Write(body(8 * MiB)); err != nil {
		panic(err)
	}
	if err := w.Update(func(m *spool.Manifest) { m.Upload, m.Tenant, m.Phase = 4711, 12, "publish" }); err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stdout, w.ID())
	// Its standard input stays open as long as the test lives.
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

// startOwner starts a server in a process of its own, and returns when it holds its workspace.
func startOwner(t *testing.T, dir string) (cmd *exec.Cmd, id string) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0], "-spool.owner="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(line)
}

func TestKilledOwner(t *testing.T) {
	for name, disk := range map[string]func(*testing.T) string{
		"here":  func(t *testing.T) string { return filepath.Join(t.TempDir(), "spool") },
		"tmpfs": func(t *testing.T) string { return spooltest.Tmpfs(t, "size=64m") },
		"ext4":  func(t *testing.T) string { return spooltest.Image(t, 64*MiB, "mkfs.ext4", "-q") },
		"ext2":  func(t *testing.T) string { return spooltest.Image(t, 64*MiB, "mkfs.ext2", "-q") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := disk(t)
			alone := name != "here" // nobody else writes to this disk
			s := open(t, dir, spool.Options{})
			before := usage(t, s).Free
			server, id := startOwner(t, dir)
			if held := before - usage(t, s).Free; held < 24*MiB && alone {
				t.Errorf("the server holds %d bytes", held)
			}
			if found := orphans(t, s); len(found) > 0 {
				t.Errorf("orphans while it lives: %v", found)
			}

			if err := server.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := server.Wait(); err == nil {
				t.Fatal("the server survived")
			}
			if lost := before - usage(t, s).Free; lost > 64*KiB && alone {
				t.Errorf("%d bytes are still taken after its death", lost)
			}
			o, ok := orphans(t, s)[id]
			if !ok || !o.Workspace || o.Manifest == nil {
				t.Fatalf("the orphan: %+v", o)
			}
			if m := o.Manifest; m.Upload != 4711 || m.Received != 16*MiB || m.Phase != "publish" || m.PID != server.Process.Pid {
				t.Errorf("its manifest: %+v", m)
			}
			if o.Age > time.Minute {
				t.Errorf("its age: %s", o.Age)
			}
			if freed, err := s.Reclaim(t.Context(), o); err != nil || freed == 0 && name != "tmpfs" {
				t.Errorf("freed %d: %v", freed, err)
			}
			noTrace(t, s, dir)
		})
	}
}
