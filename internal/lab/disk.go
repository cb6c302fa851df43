package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A Disk is a directory with a small file system of its own where one can be mounted, which only root may.
type Disk struct {
	Dir     string
	Mounted bool
}

// newDisk makes a disk of so many bytes, which ends with the test.
func newDisk(t testing.TB, dir string, size int64) *Disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tecken-lab", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", size)); err != nil {
		return &Disk{Dir: dir}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)))
		}
	})
	return &Disk{Dir: dir, Mounted: true}
}

// Fill takes all the room there is on the disk. What is freed by others later is free.
func (d *Disk) Fill() (free func() error, err error) {
	if !d.Mounted {
		return nil, fmt.Errorf("fill %s: it is no file system of its own", d.Dir)
	}
	junk := filepath.Join(d.Dir, ".junk")
	f, err := os.Create(junk)
	free = func() error { return os.Remove(junk) }
	if errors.Is(err, unix.ENOSPC) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := int64(0)
	for step := int64(1 << 20); step > 0; {
		switch err := unix.Fallocate(int(f.Fd()), 0, size, step); {
		case err == nil:
			size += step
		case errors.Is(err, unix.ENOSPC):
			step /= 16
		case !errors.Is(err, unix.EINTR):
			return free, fmt.Errorf("fill %s: %w", d.Dir, err)
		}
	}
	return free, nil
}
