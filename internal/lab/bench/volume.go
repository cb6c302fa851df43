package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// sampleInterval is how often the file system is asked how full it is.
const sampleInterval = 2 * time.Millisecond

// A volume is a directory for a spool: a file system of its own where that can be had, or else one of a
// file system that others write to as well.
type volume struct {
	dir   string
	own   bool
	image string
	idle  int64 // bytes in use when nothing is in it
}

// newVolume makes a volume of at least size bytes. Only root can mount.
func (l *lab) newVolume(ctx context.Context, size int64) (v *volume, err error) {
	v = &volume{image: filepath.Join(l.dir, "spool.img"), dir: filepath.Join(l.dir, "volume")}
	if err := os.Mkdir(v.dir, 0o755); err != nil {
		return nil, err
	}
	if err := v.mount(ctx, size); err != nil {
		l.say("no file system for the spool alone (%v): what others write beside it counts too", err)
	} else {
		v.own = true
	}
	return v, nil
}

func (v *volume) mount(ctx context.Context, size int64) error {
	f, err := os.Create(v.image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", v.image},
		{"mount", "-o", "loop", v.image, v.dir},
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w %s", command[0], err, out)
		}
	}
	return nil
}

// close unmounts the volume. Its image goes with the lab.
func (v *volume) close() error {
	var err error
	if v.own {
		err = unix.Unmount(v.dir, 0)
	}
	return errors.Join(err, os.RemoveAll(v.image), os.RemoveAll(v.dir))
}

// used returns how many bytes of the file system are in use, beyond those when it was idle.
func (v *volume) used() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(v.dir, &st); err != nil {
		return 0, fmt.Errorf("measure %s: %w", v.dir, err)
	}
	return int64(st.Blocks-st.Bfree)*st.Frsize - v.idle, nil
}

// settle makes what is in use now the idle level.
func (v *volume) settle() error {
	v.idle = 0
	used, err := v.used()
	v.idle = used
	return err
}

// peak samples what is in use while f runs, and returns the most, in bytes.
func (v *volume) peak(f func() error) (int64, error) {
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	ticks := time.NewTicker(sampleInterval)
	defer ticks.Stop()
	var most int64
	for {
		select {
		case err := <-ended:
			return most, err
		case <-ticks.C:
			used, err := v.used()
			if err != nil {
				return 0, errors.Join(err, <-ended)
			}
			most = max(most, used)
		}
	}
}
