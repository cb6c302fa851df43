package spooltest

import (
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The ioctls of fsfreeze(8) and the flag of chattr(1)'s +i, from linux/fs.h.
const (
	fiFreeze    = 0xC0045877
	fiThaw      = 0xC0045878
	fsImmutable = 0x10
)

// Freeze makes every change to dir's file system hang in the kernel, where not even SIGKILL reaches, until thaw is called or the test
// ends.
func Freeze(t testing.TB, dir string) (thaw func()) {
	t.Helper()
	NeedRoot(t)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), fiFreeze, 0); err != nil {
		t.Fatalf("freeze %s: %v", dir, err)
	}
	thaw = sync.OnceFunc(func() {
		defer f.Close()
		if err := unix.IoctlSetInt(int(f.Fd()), fiThaw, 0); err != nil {
			t.Errorf("thaw %s: %v", dir, err)
		}
	})
	t.Cleanup(thaw)
	return thaw
}

// Immutable makes an entry, on a file system that knows the flag, as undeletable as "chattr +i" does, until release is
// called or the test ends.
func Immutable(t testing.TB, path string) (release func()) {
	t.Helper()
	NeedRoot(t)
	set := func(flags int) {
		f, err := os.Open(path)
		if err != nil {
			t.Errorf("make %s deletable or not: %v", path, err)
			return
		}
		defer f.Close()
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags); err != nil {
			t.Errorf("make %s deletable or not: %v", path, err)
		}
	}
	set(fsImmutable)
	release = sync.OnceFunc(func() { set(0) })
	t.Cleanup(release)
	return release
}
