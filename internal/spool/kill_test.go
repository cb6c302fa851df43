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
	"tecken-upload/internal/testenv"
)

// own is the server to kill: it holds 24 MiB and reports that.
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
	if _, err := w.Receive(ctx, bytes.NewReader(body(16*MiB)), 16*MiB, nil); err != nil {
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
	// Its standard input is open as long as the test lives.
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

// startOwner starts a server in a process of its own, and returns once it holds its workspace.
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

// metadata is what a file system may keep for itself of the free room: btrfs makes its trees larger.
const metadata = 2 * MiB

// back waits until that many bytes are free, and logs how long that took: on ext4 and tmpfs until the process's end, on XFS in the
// background, on btrfs until its next commit.
func back(t *testing.T, s *spool.Spool, free int64) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for usage(t, s).Free < free {
		if <-tick.C; time.Since(began) > testenv.Patience {
			t.Fatalf("%d bytes are still taken after its death", free-usage(t, s).Free)
		}
	}
	t.Logf("the bytes are back %s after its end", time.Since(began))
}

// disks are the available file systems.
func disks(t *testing.T) map[string]func(*testing.T) string {
	t.Helper()
	image := func(size int64, mkfs string) func(t *testing.T) string {
		return func(t *testing.T) string { return spooltest.Image(t, size, mkfs, "-q") }
	}
	all := map[string]func(*testing.T) string{
		"here":  func(t *testing.T) string { return filepath.Join(t.TempDir(), "spool") },
		"tmpfs": func(t *testing.T) string { return spooltest.Tmpfs(t, "size=64m") },
		"ext4":  image(64*MiB, "mkfs.ext4"),
		"ext2":  image(64*MiB, "mkfs.ext2"),
	}
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"xfs", "btrfs"} {
		if strings.Contains(string(known), "\t"+name+"\n") { // not every kernel does
			all[name] = image(512*MiB, "mkfs."+name)
		}
	}
	return all
}

func TestKilledOwner(t *testing.T) {
	for name, disk := range disks(t) {
		t.Run(name, func(t *testing.T) {
			dir := disk(t)
			alone := name != "here" // no other program writes to this disk
			s := open(t, dir, spool.Options{})
			before := usage(t, s).Free
			server, id := startOwner(t, dir)
			if held := before - usage(t, s).Free; held < 24*MiB && alone && name != "btrfs" { // which counts at its next commit
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
			if alone {
				back(t, s, before-metadata)
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
