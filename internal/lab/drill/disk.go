package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mib = 1 << 20
	// diskSize is that of the file system that is mounted, and budget what uploads get where none can be.
	diskSize = 256 * mib
	budget   = 200 * mib
	// headroom is what is left to others on a file system of our own. The disk manager goes by it in any case.
	headroom = 16 * mib
	// remains is what may be used on a file system of our own when no upload is on it: directories and manifests. On
	// a disk shared with others it is othersNoise.
	remains     = 1 * mib
	othersNoise = 30 * mib
	// fillSteps is how many steps the junk takes to fill the disk: a plot shows a slope.
	fillSteps = 15
)

// A disk is where the spool is: a small file system, or a part of a large one.
type disk struct {
	about, title string
	root, spool  string
	mounted      bool
	before       int64 // bytes used by others, before the play
	capacity     int64 // bytes, of what is plotted
	headroom     int64 // bytes, for the server
	noise        int64 // bytes by which what is used may be off
}

// newDisk makes a disk at root. What is stored, in bytes, counts against a plain directory only: it is on the
// same disk.
func newDisk(root string, stored int64) (*disk, error) {
	d := &disk{root: root, spool: filepath.Join(root, "spool"), headroom: headroom}
	if err := os.Mkdir(root, 0o700); err != nil {
		return nil, err
	}
	err := unix.Mount("tecken-drill", root, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", diskSize))
	if err == nil {
		d.mounted, d.capacity, d.noise = true, diskSize, remains
		d.title = "bytes used on the spool's file system"
		d.about = fmt.Sprintf("the spool is on a tmpfs of %d MiB, %d MiB of it headroom", diskSize/mib, headroom/mib)
		return d, nil
	}
	free, used, err2 := statfs(root)
	if err2 != nil {
		return nil, err2
	}
	d.before, d.capacity, d.noise = used, budget+stored, othersNoise
	d.headroom = free - d.capacity
	if d.headroom < headroom {
		return nil, fmt.Errorf("%s has %d MiB free, %d are needed", root, free/mib, (d.capacity+headroom)/mib)
	}
	d.title = "bytes used on the spool's disk since the start"
	d.about = fmt.Sprintf("no file system can be mounted (%v): the spool is a plain directory,\n"+
		"all but %d MiB of whose disk are headroom, %d of them for the symbols that are stored", err, d.capacity/mib, stored/mib)
	return d, nil
}

// statfs says what is free below dir, for an unprivileged process, and what is used.
func statfs(dir string) (free, used int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Frsize, int64(st.Blocks-st.Bfree) * st.Frsize, nil
}

// used says how many bytes the play uses; 0 where nobody knows.
func (d *disk) used() int64 {
	_, used, err := statfs(d.root)
	if err != nil {
		return 0
	}
	return max(used-d.before, 0)
}

// workspaces names what is in the spool, but for what is being made.
func (d *disk) workspaces() (names []string) {
	entries, _ := os.ReadDir(d.spool) // before the server has made it, nothing is in it
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

func (d *disk) junk() string { return filepath.Join(d.root, "junk") }

// fill writes junk beside the spool until half of the headroom is gone, and returns how much that took.
func (d *disk) fill(ctx context.Context) (size int64, err error) {
	free, _, err := statfs(d.root)
	if err != nil {
		return 0, err
	}
	size = free - d.headroom + headroom/2
	f, err := os.OpenFile(d.junk(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	step := size / fillSteps
	for i := range int64(fillSteps) {
		if err := allocate(f, i*step, step); err != nil {
			return 0, fmt.Errorf("fill %s: %w", d.root, err)
		}
		if err := wait(ctx, sampleInterval); err != nil {
			return 0, err
		}
	}
	return size, nil
}

// allocate takes room, by writing where the file system knows no other way.
func allocate(f *os.File, off, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, off, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = f.WriteAt(make([]byte, size), off)
	}
	return err
}

// close unmounts what was mounted. Whoever hangs on it loses it.
func (d *disk) close() error {
	if !d.mounted {
		return nil
	}
	for range 10 {
		if unix.Unmount(d.root, 0) == nil {
			return nil
		}
		<-time.After(sampleInterval)
	}
	if err := unix.Unmount(d.root, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", d.root, err)
	}
	return nil
}
