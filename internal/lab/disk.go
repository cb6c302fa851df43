package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A Disk is a directory, with a small file system of its own if it can be mounted, which needs root.
type Disk struct {
	Dir   string
	Plain error // why it is a plain directory, or nil
}

// NewDisk makes a disk of size bytes, a tmpfs, which ends with the test.
func NewDisk(t testing.TB, dir string, size int64) *Disk {
	t.Helper()
	return mount(t, dir, func() error {
		return unix.Mount("tecken-lab", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", size))
	})
}

// NewImage is NewDisk with an ext4 in a file beside dir.
func NewImage(t testing.TB, dir string, size int64) *Disk {
	t.Helper()
	image := dir + ".image"
	return mount(t, dir, func() error {
		f, err := os.Create(image)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
			return err
		}
		for _, command := range [][]string{
			{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image}, {"mount", "-o", "loop", image, dir},
		} {
			if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w %s", command[0], err, out)
			}
		}
		return os.Remove(image) // the mount keeps it
	})
}

func mount(t testing.TB, dir string, mount func() error) *Disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mount(); err != nil {
		return &Disk{Dir: dir, Plain: err}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)))
		}
	})
	return &Disk{Dir: dir}
}

// Used returns the bytes in use on the disk's file system, and those free to any user.
func (d *Disk) Used() (used, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.Dir, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", d.Dir, err)
	}
	return int64(st.Blocks-st.Bfree) * st.Frsize, int64(st.Bavail) * st.Frsize, nil
}

// Fill takes all free room on the disk. Room that others free later stays free.
func (d *Disk) Fill() (free func() error, err error) {
	if d.Plain != nil {
		return nil, fmt.Errorf("fill %s: it is no file system of its own: %w", d.Dir, d.Plain)
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
