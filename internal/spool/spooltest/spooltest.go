// Package spooltest mounts small file systems for tests: disks that fill up, that know no fallocate, that
// are read-only. It needs root; where a test is not, it is skipped as missing.
package spooltest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/testenv"
)

// NeedRoot ends the test unless it runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		testenv.Missing(t, "root", "Mounting file systems needs it: run the tests as root.")
	}
}

// Tmpfs mounts a tmpfs for the time of the test. The options are those of tmpfs(5), as "size=64m,nr_inodes=50".
func Tmpfs(t testing.TB, options string) string {
	t.Helper()
	NeedRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		testenv.Missing(t, "mount", "A sandbox may forbid it even to root: "+err.Error())
	}
	t.Cleanup(func() { unmount(t, dir) })
	return dir
}

// Image makes a file system of the given size in bytes with the command mkfs, which the image's path is
// appended to, and mounts it for the time of the test.
func Image(t testing.TB, size int64, mkfs ...string) string {
	t.Helper()
	NeedRoot(t)
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		testenv.Missing(t, mkfs[0], "Debian has it in a package: e2fsprogs, xfsprogs, btrfs-progs.")
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", mkfs[0], err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		testenv.Missing(t, "a loop device", "A sandbox may have none: "+string(out))
	}
	t.Cleanup(func() { unmount(t, dir) })
	return dir
}

func unmount(t testing.TB, dir string) {
	t.Helper()
	if err := unix.Unmount(dir, 0); err != nil {
		t.Errorf("unmount %s: %v; a descriptor was leaked", dir, err)
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s lazily: %v", dir, err)
		}
	}
}
