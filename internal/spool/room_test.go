package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/spool/spooltest"
)

// isFull checks that err is a FullError of the given kind.
func isFull(t *testing.T, err error, busy bool) {
	t.Helper()
	no, ok := errors.AsType[*spool.FullError](err)
	if !ok || !errors.Is(err, spool.ErrFull) {
		t.Fatalf("not a FullError: %v", err)
	}
	if no.Busy != busy {
		t.Errorf("busy is %v: %v", no.Busy, err)
	}
}

// isTooLarge checks that err is a LimitError of that many bytes, or a little less: the file system needs some for itself.
func isTooLarge(t *testing.T, err error, limit int64) {
	t.Helper()
	no, ok := errors.AsType[*spool.LimitError](err)
	if !ok || !errors.Is(err, spool.ErrTooLarge) || errors.Is(err, spool.ErrFull) {
		t.Fatalf("not a LimitError: %v", err)
	}
	if no.Limit > limit || no.Limit < limit-64*KiB {
		t.Errorf("the limit is %d, want %d: %v", no.Limit, limit, err)
	}
}

func TestRoomToTheLastByte(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	s := open(t, dir, spool.Options{Headroom: 4 * MiB})
	room := usage(t, s).Free - 4*MiB
	w := create(t, s, room)
	_, err := s.Create(t.Context(), 1)
	isFull(t, err, true)
	closeAll(t, w)
	_, err = s.Create(t.Context(), room+1)
	isTooLarge(t, err, room)
	_, err = s.Create(t.Context(), 2<<30)
	isTooLarge(t, err, 60*MiB)
	noTrace(t, s, dir)
}

// Room taken by other programs is no limit: the disk is full.
func TestOthersFillTheDisk(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	s := open(t, dir, spool.Options{Headroom: 4 * MiB})
	write(t, filepath.Join(dir, "junk"), body(30*MiB), 0)
	_, err := s.Create(t.Context(), 40*MiB)
	isFull(t, err, false)
	_, err = create(t, s, -1).Receive(t.Context(), bytes.NewReader(body(40*MiB)), 1<<40, nil)
	isFull(t, err, false)
	_, err = s.Create(t.Context(), 59*MiB) // an empty disk would take it
	isFull(t, err, false)
	_, err = s.Create(t.Context(), 61*MiB)
	isTooLarge(t, err, 60*MiB)
}

// A headroom above the disk leaves no room: an upload's size is not at fault.
func TestHeadroomLargerThanTheDisk(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=8m")
	s := open(t, dir, spool.Options{Headroom: 16 * MiB})
	for _, size := range []int64{1, 1 << 40, -1} {
		_, err := s.Create(t.Context(), size)
		isFull(t, err, false)
		if strings.Contains(err.Error(), " -") {
			t.Errorf("negative bytes: %v", err)
		}
	}
}

// TestMax: uploads hold no more than the bound.
func TestMax(t *testing.T) {
	const most = 32 * MiB
	dir := filepath.Join(t.TempDir(), "spool")
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Options{Max: most, Wait: 10 * time.Second})
		if u := usage(t, s); u.Room != most || u.Budget != most || u.Limit() != most {
			t.Errorf("at rest: %+v", u)
		}
		_, err := s.Create(t.Context(), most+1)
		isTooLarge(t, err, most)
		w := create(t, s, most)
		if u := usage(t, s); u.Room != 0 || u.Budget != most {
			t.Errorf("with all of it taken: %+v", u)
		}
		_, err = s.Create(t.Context(), 1)
		isFull(t, err, true)
		closeAll(t, w)
		second := create(t, s, 20*MiB)
		// Scratch files count. What exceeds the bound only with the archive is too large too.
		if _, err := second.Receive(t.Context(), bytes.NewReader(body(20*MiB)), 20*MiB, nil); err != nil {
			t.Fatal(err)
		}
		scratch, err := second.Scratch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = scratch.Write(body(13 * MiB))
		isTooLarge(t, err, most)
		closeAll(t, second)
		// A body of unknown size grows up to the bound.
		growing := create(t, s, -1)
		_, err = growing.Receive(t.Context(), bytes.NewReader(body(most+1)), 1<<40, nil)
		isTooLarge(t, err, most)
		closeAll(t, growing)
		noTrace(t, s, dir)
	})
}

func TestUnknownSizeOnSmallDisk(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=8m")
	s := open(t, dir, spool.Options{Headroom: MiB})
	w := create(t, s, -1)
	if _, err := w.Receive(t.Context(), bytes.NewReader(body(6*MiB)), 1<<40, nil); err != nil {
		t.Error(err)
	}
	closeAll(t, w)
	w = create(t, s, -1)
	_, err := w.Receive(t.Context(), bytes.NewReader(body(9*MiB)), 1<<40, nil)
	isTooLarge(t, err, 7*MiB)
	closeAll(t, w)
	noTrace(t, s, dir)
}

// TestKernelSaysFull: the disk is fuller than statfs says, here because of a limit on inodes, and of a file that another program fills
// between the count and the write.
func TestKernelSaysFull(t *testing.T) {
	t.Run("no inodes", func(t *testing.T) {
		dir := spooltest.Tmpfs(t, "size=8m,nr_inodes=5")
		s := open(t, dir, spool.Options{})
		create(t, s, MiB)
		before := descriptors(t)
		_, err := s.Create(t.Context(), MiB)
		isFull(t, err, false)
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("the kernel's word is lost: %v", err)
		}
		if diff := cmp.Diff(before, descriptors(t)); diff != "" {
			t.Errorf("descriptors (-before +after):\n%s", diff)
		}
		if left := names(t, dir); len(left) != 1 {
			t.Errorf("left in the spool: %q", left)
		}
		if u := usage(t, s); u.Held != MiB || u.Live != 1 {
			t.Errorf("left in the books: %+v", u)
		}
	})
	t.Run("no blocks", func(t *testing.T) {
		// Without fallocate others may take the counted room before it is used.
		dir := spooltest.Image(t, 32*MiB, "mkfs.ext2", "-q", "-m0")
		s := open(t, dir, spool.Options{})
		w := create(t, s, 20*MiB)
		write(t, filepath.Join(dir, "thief"), body(20*MiB), 0)
		_, err := w.Receive(t.Context(), bytes.NewReader(body(20*MiB)), 20*MiB, nil)
		isFull(t, err, false)
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("the kernel's word is lost: %v", err)
		}
		closeAll(t, w)
		if u := usage(t, s); u.Held+u.Reserved+int64(u.Live) != 0 {
			t.Errorf("left in the books: %+v", u)
		}
	})
}

// take has a live workspace take n more bytes, for which it may have to wait.
func take(ctx context.Context, w *spool.Workspace, n int) <-chan error {
	done := make(chan error, 1)
	go func() {
		scratch, err := w.Scratch(ctx)
		if err == nil {
			_, err = scratch.Write(body(n))
		}
		done <- err
	}()
	return done
}

// TestGrowingGoesFirst: room goes to live workspaces in the order of their requests, even if a later one would fit; meanwhile new ones get
// none.
func TestGrowingGoesFirst(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Options{Headroom: 4 * MiB, Wait: time.Minute})
		first, a, b := create(t, s, 40*MiB), create(t, s, MiB), create(t, s, MiB)
		growA := take(t.Context(), a, 20*MiB)
		synctest.Wait()
		growB := take(t.Context(), b, MiB) // would fit at once
		synctest.Wait()
		closeAll(t, create(t, s, 0)) // like a health check
		_, err := s.Create(t.Context(), 1)
		isFull(t, err, true)
		if u := usage(t, s); u.Waiting != 2 || !s.Contended() {
			t.Errorf("waiting: %+v", u)
		}
		select {
		case err := <-growA:
			t.Fatalf("it got room that others had: %v", err)
		case err := <-growB:
			t.Fatalf("the second passed the first: %v", err)
		default:
		}
		closeAll(t, first)
		if err := errors.Join(<-growA, <-growB); err != nil || s.Contended() || a.Refused() {
			t.Errorf("with room for all: %v", err)
		}
		create(t, s, MiB)
		closeAll(t, a, b)
	})
}

func TestWaitingEnds(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Options{Headroom: 4 * MiB, Wait: 10 * time.Second})
		large, w := create(t, s, 50*MiB), create(t, s, MiB)
		start := time.Now()
		// No room of live workspaces would help: there is nothing to wait for.
		err := <-take(t.Context(), w, 60*MiB)
		isTooLarge(t, err, 60*MiB)
		if waited := time.Since(start); waited != 0 || w.Refused() || s.Contended() {
			t.Errorf("refused after %s, as what others hold: %t", waited, w.Refused())
		}
		hungUp := errors.New("hung up")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, hungUp)
		defer cancel()
		if err := <-take(ctx, w, 20*MiB); !errors.Is(err, hungUp) {
			t.Errorf("the context ended: %v", err)
		}
		if _, err := s.Create(ctx, 1); !errors.Is(err, hungUp) {
			t.Errorf("the context had ended: %v", err)
		}
		start = time.Now()
		isFull(t, <-take(t.Context(), w, 20*MiB), true)
		if waited := time.Since(start); waited != 10*time.Second || !w.Refused() {
			t.Errorf("refused after %s, and remembered: %t", waited, w.Refused())
		}
		closeAll(t, large, w)
		noTrace(t, s, dir)
	})
}

// TestOthersMakeRoom: room that another program frees is noticed without an event.
func TestOthersMakeRoom(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	other := open(t, dir, spool.Options{})
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Options{Headroom: 4 * MiB, Wait: 10 * time.Second})
		create(t, s, 20*MiB) // else nothing would be worth waiting for
		growing := create(t, s, MiB)
		w := create(t, other, 20*MiB)
		time.AfterFunc(5*time.Second, func() { closeAll(t, w) })
		start := time.Now()
		if err := <-take(t.Context(), growing, 34*MiB); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited < 5*time.Second || waited > 6*time.Second {
			t.Errorf("waited %s", waited)
		}
	})
}

// TestNeverOverbooked has many uploads compete for a small disk, with and without fallocate.
func TestNeverOverbooked(t *testing.T) {
	const headroom = 4 * MiB
	for name, disk := range map[string]func(*testing.T) string{
		"tmpfs": func(t *testing.T) string { return spooltest.Tmpfs(t, "size=64m") },
		"ext2":  func(t *testing.T) string { return spooltest.Image(t, 64*MiB, "mkfs.ext2", "-q", "-m0") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := disk(t)
			s := open(t, dir, spool.Options{Headroom: headroom, Wait: time.Minute})
			var uploads sync.WaitGroup
			errs := make(chan error, 100)
			for i := range 100 {
				uploads.Go(func() { errs <- competingUpload(t.Context(), s, i) })
			}
			uploads.Wait()
			close(errs)
			for err := range errs {
				if err != nil {
					t.Error(err)
				}
			}
			noTrace(t, s, dir)
		})
	}
}

// competingUpload takes up to 12 MiB and checks the disk meanwhile.
func competingUpload(ctx context.Context, s *spool.Spool, seed int) error {
	size := rand.New(rand.NewPCG(1, uint64(seed))).IntN(12 * MiB)
	declared := int64(size)
	if seed%7 == 0 {
		size, declared = size/4, -1
	}
	w, err := s.Create(ctx, declared)
	for no, ok := errors.AsType[*spool.FullError](err); ok && no.Busy; no, ok = errors.AsType[*spool.FullError](err) {
		<-time.After(time.Millisecond)
		w, err = s.Create(ctx, declared)
	}
	if err != nil {
		return fmt.Errorf("upload of %d bytes: %w", size, err)
	}
	_, err = w.Receive(ctx, bytes.NewReader(body(size)), int64(size), nil)
	u, measured := s.Usage(ctx)
	// Directories, manifests and ext2's blocks of addresses are not counted.
	const slack = 2 * MiB
	if measured == nil && u.Free < u.Headroom-slack {
		err = errors.Join(err, fmt.Errorf("overbooked: %+v", u))
	}
	return errors.Join(err, measured, w.Close())
}
