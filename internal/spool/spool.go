package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	markName = ".tecken-spool"
	markText = "This directory is a spool of tecken-upload. disk-manager deletes what it finds in it.\n"
	// foundName is made by mkfs at the root of a file system.
	foundName = "lost+found"
)

// Options of a spool. The zero value is usable.
type Options struct {
	Headroom int64            // bytes to leave free on the file system
	Max      int64            // bytes of all live workspaces, however much is free; 0: no bound
	Wait     time.Duration    // how long a live workspace waits for room; 0: not at all
	Largest  int64            // bytes of the largest upload: Open warns if it would never fit
	ReadOnly bool             // Orphans and Reclaim change nothing, and return what they would do
	Instance string           // the server's name, for manifests
	Logger   *slog.Logger     // nil: silent
	Now      func() time.Time // nil: time.Now
}

// A Spool is an open spool directory. It is safe for concurrent use.
type Spool struct {
	dir      string
	opts     Options
	log      *slog.Logger
	now      func() time.Time
	root     *os.Root
	server   bool     // it keeps the mark
	fd       *os.File // the directory itself, for the *at calls
	dev, ino uint64
	// mount is the directory's mount; "" if the kernel does not say.
	mount string

	buffers     sync.Pool   // of *[]byte, bufferSize long
	noTmpfile   atomic.Bool // the file system can't make files without a name
	noFallocate atomic.Bool // the file system can't allocate ahead

	mu      sync.Mutex         // guards the fields below, and every room's
	rooms   map[*room]struct{} // of live workspaces
	live    int                // workspaces
	growing []*waiter          // live workspaces that wait for more room, in order
}

// Open opens the spool at dir for a server, and makes a missing one. It refuses network file systems, and a directory with other content,
// with an error wrapping ErrNotSpool: a mistyped setting must not make a spool of a home directory. It only warns of a spool that is too
// small.
func Open(dir string, opts Options) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	s, err := open(dir, opts)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open spool %s: %w", dir, err), s.Close())
	}
	s.server = true
	return s, nil
}

// Attach opens the spool at dir for a janitor. It makes nothing: without a directory the error wraps fs.ErrNotExist, without the mark
// ErrNotSpool.
func Attach(dir string, opts Options) (*Spool, error) {
	s, err := open(dir, opts)
	if err != nil {
		return nil, err
	}
	if err := s.checkMark(); err != nil {
		return nil, errors.Join(fmt.Errorf("attach spool %s: %w", dir, err), s.Close())
	}
	return s, nil
}

func open(dir string, opts Options) (*Spool, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s := &Spool{
		dir: dir, opts: opts, root: root,
		log: opts.Logger, now: opts.Now,
		rooms: make(map[*room]struct{}),
		buffers: sync.Pool{New: func() any {
			b := make([]byte, bufferSize)
			return &b
		}},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.fd, err = root.Open("."); err != nil {
		return nil, errors.Join(fmt.Errorf("open spool: %w", err), root.Close())
	}
	var st unix.Stat_t
	if err := unix.Fstat(s.fdnum(), &st); err != nil {
		return nil, errors.Join(fmt.Errorf("stat spool %s: %w", dir, err), s.Close())
	}
	s.dev, s.ino = st.Dev, st.Ino
	s.mount, _ = mountID(s.fdnum())
	return s, nil
}

// Close closes the directory. Call it after the last workspace: none can be made or removed afterwards.
func (s *Spool) Close() error {
	return errors.Join(s.fd.Close(), s.root.Close())
}

func (s *Spool) fdnum() int { return int(s.fd.Fd()) }

// prepare returns an error unless the directory may be a spool, and marks it.
func (s *Spool) prepare() error {
	st, err := s.statfs()
	if err != nil {
		return err
	}
	name, refuse := foreignFS(st.Type)
	switch {
	case refuse:
		return fmt.Errorf("%s is a network file system: a spool needs a local disk", name)
	case name != "":
		s.log.Warn("spool on a file system that may lock, unlink or count in its own way; ext4 and XFS are safe",
			"dir", s.dir, "type", name)
	}
	if err := s.mark(); err != nil {
		return err
	}
	if m := (measures{max: s.opts.Max, whole: s.usable(&st)}); m.limit() < s.opts.Largest {
		s.log.Warn("spool too small for the largest upload", "dir", s.dir, "bytes", max(0, m.limit()), "needed", s.opts.Largest)
	}
	return nil
}

// mark puts the mark into an empty directory.
func (s *Spool) mark() error {
	if err := s.checkMark(); !errors.Is(err, ErrNotSpool) {
		return err
	}
	d, err := s.root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, name := range names {
		// A second server may be marking it at this moment.
		if name != foundName && name != markName {
			return fmt.Errorf("%w: it holds other things already, such as %q; use an empty directory, or put a file %s into this one",
				ErrNotSpool, name, markName)
		}
	}
	err = s.root.WriteFile(markName, []byte(markText), 0o644)
	return full(err)
}

func (s *Spool) checkMark() error {
	info, err := s.root.Lstat(markName)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%w: no file %s", ErrNotSpool, markName)
	default:
		return err
	}
}

// keepMark keeps the mark young, and restores it; for a janitor it only checks it.
func (s *Spool) keepMark() error {
	if !s.server {
		return s.checkMark()
	}
	info, err := s.root.Lstat(markName)
	switch now := s.now(); {
	case err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > markAge:
		_ = s.root.Chtimes(markName, now, now) // a read-only disk is reported elsewhere
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return s.checkMark()
	}
	f, err := s.root.OpenFile(markName, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was faster
	}
	if err != nil {
		return full(fmt.Errorf("put the mark back: %w", err))
	}
	s.log.Warn("spool's mark was removed and is put back; keep what cleans temporary files away from the spool", "dir", s.dir, "file", markName)
	_, err = f.WriteString(markText)
	return full(errors.Join(err, f.Close()))
}

// Usage describes a spool at one moment.
type Usage struct {
	Total, Free        int64 // bytes of the file system; Free is for unprivileged processes
	Inodes, FreeInodes int64 // files of the file system; both 0 without such a bound
	Headroom           int64 // bytes to be left free
	Held               int64 // allocated by this process's live workspaces
	Reserved           int64 // promised to them beyond that
	Room               int64 // could be promised now; may be negative
	Budget             int64 // could be promised with all live workspaces gone
	Max                int64 // for all live workspaces; 0: no bound
	Whole              int64 // could be promised on the empty file system, without Max; may be negative
	Live               int   // live workspaces of this process
	Waiting            int   // of these, waiting for more room
}

func (u *Usage) measures() measures {
	return measures{free: u.Room, alone: u.Budget, whole: u.Whole, max: u.Max}
}

// Limit returns the largest size of one upload on the empty file system.
func (u *Usage) Limit() int64 {
	m := u.measures()
	return m.limit()
}

// checkPlace returns an error if another directory, or none, is at the path: a janitor looks there, and would not find what goes into this
// one.
func (s *Spool) checkPlace() error {
	var named unix.Stat_t
	if err := unix.Stat(s.dir, &named); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if named.Dev != s.dev || named.Ino != s.ino { // unique while it is open
		return fmt.Errorf("%w: the directory was removed or replaced while it was in use; a restart takes the new one", ErrNotSpool)
	}
	return nil
}

// Impossible returns the error of an upload that would not get so many bytes even alone: a *LimitError, a *FullError, or nil.
func (u *Usage) Impossible(need int64) error {
	m := u.measures()
	return m.impossible(need)
}

// check returns an error unless the directory is still a spool at its path.
func (s *Spool) check() error {
	if err := s.checkPlace(); err != nil {
		return err
	}
	return s.keepMark()
}

// Usage measures the spool. It fails if the directory is gone or no longer a spool.
func (s *Spool) Usage(ctx context.Context) (Usage, error) {
	if ctx.Err() != nil {
		return Usage{}, context.Cause(ctx)
	}
	if err := s.check(); err != nil {
		return Usage{}, fmt.Errorf("measure spool %s: %w", s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	held, reserved := s.sums()
	m, err := s.measure(nil)
	if err != nil {
		return Usage{}, err
	}
	st, err := s.statfs()
	if err != nil {
		return Usage{}, err
	}
	return Usage{
		Total: int64(st.Blocks) * st.Frsize, Free: int64(st.Bavail) * st.Frsize,
		Inodes: int64(st.Files), FreeInodes: int64(st.Ffree),
		Headroom: s.opts.Headroom, Held: held, Reserved: reserved - held, Room: m.free, Budget: m.alone, Max: m.max, Whole: m.whole,
		Live: s.live, Waiting: len(s.growing),
	}, nil
}

// foreignFS names file systems unfit for a spool, and whether to refuse them: those with locks and unlinked files outside this kernel. FUSE
// and 9p are also some containers' local disks; btrfs counts freed bytes only when it commits, after up to 30 s.
func foreignFS(magic int64) (name string, refuse bool) {
	switch uint32(magic) {
	case unix.NFS_SUPER_MAGIC:
		return "NFS", true
	case unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		return "SMB", true
	case unix.AFS_FS_MAGIC, unix.AFS_SUPER_MAGIC:
		return "AFS", true
	case unix.CEPH_SUPER_MAGIC:
		return "Ceph", true
	case unix.CODA_SUPER_MAGIC:
		return "Coda", true
	case unix.FUSE_SUPER_MAGIC:
		return "FUSE", false
	case unix.V9FS_MAGIC:
		return "9p", false
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", false
	}
	return "", false
}
