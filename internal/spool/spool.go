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
	// foundName is made by mkfs at the root of a file system, and is not ours.
	foundName = "lost+found"
)

// Options of a spool. The zero value is usable.
type Options struct {
	Headroom int64            // bytes to leave free on the file system
	Wait     time.Duration    // how long to wait for room that live workspaces hold; 0: not at all
	Largest  int64            // bytes of the largest upload to expect: Open warns where it would never fit
	ReadOnly bool             // Orphans and Reclaim change nothing: they say what is there, and what would go
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
	fd       *os.File // the directory itself, for the *at calls
	dev, ino uint64
	// mount is the mount that the directory lies in; "" where the kernel does not tell.
	mount string

	buffers     sync.Pool   // of *[]byte, bufferSize long
	noTmpfile   atomic.Bool // the file system can't make files without a name
	noFallocate atomic.Bool // the file system can't allocate ahead

	mu      sync.Mutex         // guards what follows, and every room's fields
	rooms   map[*room]struct{} // of live workspaces
	live    int                // workspaces
	growing []*waiter          // live workspaces that wait for more room, served first
	waiting []*waiter          // workspaces to be, in order of arrival
	refused time.Time          // when room was last refused that live workspaces hold
}

// Open opens the spool at dir for a server, making it if there is none. It refuses network file systems,
// and a directory that holds other things already, with an error wrapping ErrNotSpool: a mistyped
// setting must not make a spool of a home directory. A spool that is too small is only warned of.
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
	return s, nil
}

// Attach opens the spool at dir for a janitor. It makes nothing: where there is no directory the error
// wraps fs.ErrNotExist, and where it is not marked as a spool, ErrNotSpool.
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

// Close lets go of the directory. It is for when no workspace is left: none can be made or removed any more.
func (s *Spool) Close() error {
	return errors.Join(s.fd.Close(), s.root.Close())
}

func (s *Spool) fdnum() int { return int(s.fd.Fd()) }

// prepare makes sure that the directory may be, and is marked as, a spool.
func (s *Spool) prepare() error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(s.fdnum(), &st); err != nil {
		return fmt.Errorf("statfs: %w", err)
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
	total := int64(st.Blocks) * st.Frsize
	if need := s.opts.Largest + s.opts.Headroom; total < need {
		s.log.Warn("spool too small for the largest upload", "dir", s.dir, "bytes", total, "needed", need)
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

// Usage describes a spool at one moment.
type Usage struct {
	Total, Free        int64 // bytes of the file system; Free is what an unprivileged process may still take
	Inodes, FreeInodes int64 // files of the file system; both 0 where it has no such bound
	Headroom           int64 // bytes to be left free
	Held               int64 // bytes that the live workspaces of this process have allocated
	Reserved           int64 // bytes promised to them beyond that
	Room               int64 // bytes that could be promised now; may be negative
	Budget             int64 // bytes that could be promised, were all live workspaces gone
	Live               int   // live workspaces of this process
	Waiting            int   // requests that wait for room
	// Refused is when room was last refused that live workspaces hold; zero: never.
	Refused time.Time
}

// checkPlace makes sure that the directory is still what stands at its path: a janitor looks there, and finds nothing
// of what goes into one that was moved away or removed.
func (s *Spool) checkPlace() error {
	var named unix.Stat_t
	if err := unix.Stat(s.dir, &named); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if named.Dev != s.dev || named.Ino != s.ino { // which is no other's while it is open
		return fmt.Errorf("%w: the directory was removed or replaced while it was in use; a restart takes the new one", ErrNotSpool)
	}
	return nil
}

// Usage measures the spool. It fails where the directory is gone or no longer a spool.
func (s *Spool) Usage(ctx context.Context) (Usage, error) {
	if ctx.Err() != nil {
		return Usage{}, context.Cause(ctx)
	}
	if err := errors.Join(s.checkPlace(), s.checkMark()); err != nil {
		return Usage{}, fmt.Errorf("measure spool %s: %w", s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	held, reserved := s.sums()
	room, budget, err := s.measure(nil)
	if err != nil {
		return Usage{}, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(s.fdnum(), &st); err != nil {
		return Usage{}, fmt.Errorf("measure spool %s: %w", s.dir, err)
	}
	return Usage{
		Total: int64(st.Blocks) * st.Frsize, Free: int64(st.Bavail) * st.Frsize,
		Inodes: int64(st.Files), FreeInodes: int64(st.Ffree),
		Headroom: s.opts.Headroom, Held: held, Reserved: reserved - held, Room: room, Budget: budget,
		Live: s.live, Waiting: len(s.waiting) + len(s.growing), Refused: s.refused,
	}, nil
}

// foreignFS names file systems that are no good place for a spool, and says whether to refuse them: those whose locks and
// unlinked files are not this kernel's own. FUSE and 9p are also what some containers have for a
// local disk; btrfs counts what was freed only when it commits, after up to 30 s.
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
