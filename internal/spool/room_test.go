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

// isTooLarge checks that err is a LimitError of so many bytes, or a little less: the file system has some for itself.
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

// What other programs have taken is no limit: the disk is full.
func TestOthersFillTheDisk(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	s := open(t, dir, spool.Options{Headroom: 4 * MiB})
	write(t, filepath.Join(dir, "junk"), body(30*MiB), 0)
	_, err := s.Create(t.Context(), 40*MiB)
	isFull(t, err, false)
	_, err = create(t, s, -1).Receive(t.Context(), bytes.NewReader(body(40*MiB)), 1<<40)
	isFull(t, err, false)
	_, err = s.Create(t.Context(), 59*MiB) // an empty disk would take it
	isFull(t, err, false)
	_, err = s.Create(t.Context(), 61*MiB)
	isTooLarge(t, err, 60*MiB)
}

// A headroom that is larger than the disk leaves no room for anything: that is no fault of an upload's size.
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

// TestMax: uploads hold no more than the bound, and queue for it as for a disk.
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
		start := time.Now()
		_, err = s.Create(t.Context(), 1)
		isFull(t, err, true)
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("refused after %v", waited)
		}
		time.AfterFunc(3*time.Second, func() { closeAll(t, w) })
		start = time.Now()
		second := create(t, s, 20*MiB)
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("let in after %v", waited)
		}
		// Scratch files count, and what outgrows the bound with the archive is too large though each alone is not.
		if _, err := second.Receive(t.Context(), bytes.NewReader(body(20*MiB)), 20*MiB); err != nil {
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
		_, err = growing.Receive(t.Context(), bytes.NewReader(body(most+1)), 1<<40)
		isTooLarge(t, err, most)
		closeAll(t, growing)
		noTrace(t, s, dir)
	})
}

func TestUnknownSizeOnSmallDisk(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=8m")
	s := open(t, dir, spool.Options{Headroom: MiB})
	w := create(t, s, -1)
	if _, err := w.Receive(t.Context(), bytes.NewReader(body(6*MiB)), 1<<40); err != nil {
		t.Error(err)
	}
	closeAll(t, w)
	w = create(t, s, -1)
	_, err := w.Receive(t.Context(), bytes.NewReader(body(9*MiB)), 1<<40)
	isTooLarge(t, err, 7*MiB)
	closeAll(t, w)
	noTrace(t, s, dir)
}

// TestKernelSaysFull: the disk is fuller than statfs says, here because of a limit on inodes, and of a file that
// another program fills between the count and the write.
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
		// Without fallocate the counted room is taken by others before it is used.
		dir := spooltest.Image(t, 32*MiB, "mkfs.ext2", "-q", "-m0")
		s := open(t, dir, spool.Options{})
		w := create(t, s, 20*MiB)
		write(t, filepath.Join(dir, "thief"), body(20*MiB), 0)
		_, err := w.Receive(t.Context(), bytes.NewReader(body(20*MiB)), 20*MiB)
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

// TestWaitersInOrder: room goes to those who wait in the order in which they came, even where a later one would fit.
func TestWaitersInOrder(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Options{Headroom: 4 * MiB, Wait: time.Minute})
		first := create(t, s, 50*MiB)
		var mu sync.Mutex
		var order []string
		workspaces := make(map[string]*spool.Workspace)
		join := func(name string, size int64) {
			go func() {
				w, err := s.Create(t.Context(), size)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
				workspaces[name] = w
			}()
			synctest.Wait()
		}
		join("a", 20*MiB)
		join("b", 50*MiB)
		join("c", MiB)               // would fit at once
		closeAll(t, create(t, s, 0)) // as a health check does
		if u := usage(t, s); u.Waiting != 3 {
			t.Errorf("waiting: %+v", u)
		}
		closeAll(t, first)
		synctest.Wait()
		if diff := cmp.Diff([]string{"a"}, order); diff != "" {
			t.Fatal(diff)
		}
		closeAll(t, workspaces["a"])
		synctest.Wait()
		if len(order) != 3 {
			t.Fatalf("order %q", order)
		}
		closeAll(t, workspaces["b"], workspaces["c"])
		noTrace(t, s, dir)
	})
}

// TestGrowingGoesFirst: a body that is on its way is served before one that has not begun.
func TestGrowingGoesFirst(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Options{Headroom: 4 * MiB, Wait: time.Minute})
		first, growing := create(t, s, 40*MiB), create(t, s, 16*MiB)
		var began, grew time.Time
		go func() {
			w, err := s.Create(t.Context(), 30*MiB)
			if err != nil {
				t.Error(err)
				return
			}
			began = time.Now()
			closeAll(t, w)
		}()
		synctest.Wait()
		go func() {
			if _, err := growing.Receive(t.Context(), bytes.NewReader(body(50*MiB)), 1<<40); err != nil {
				t.Error(err)
			}
			grew = time.Now()
			<-time.After(time.Second)
			closeAll(t, growing)
		}()
		synctest.Wait()
		if u := usage(t, s); u.Waiting != 2 {
			t.Errorf("waiting: %+v", u)
		}
		closeAll(t, first)
		<-time.After(10 * time.Second)
		synctest.Wait()
		if grew.IsZero() || !began.After(grew) {
			t.Errorf("grew at %s, began at %s", grew, began)
		}
		noTrace(t, s, dir)
	})
}

func TestWaitingEnds(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Options{Headroom: 4 * MiB, Wait: 10 * time.Second})
		w := create(t, s, 50*MiB)
		start := time.Now()
		_, err := s.Create(t.Context(), 20*MiB)
		isFull(t, err, true)
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("refused after %s", waited)
		}
		// Nothing that live workspaces hold would do: there is nothing to wait for.
		start = time.Now()
		_, err = s.Create(t.Context(), 61*MiB)
		isTooLarge(t, err, 60*MiB)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("refused after %s", waited)
		}
		hungUp := errors.New("hung up")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, hungUp)
		defer cancel()
		if _, err := s.Create(ctx, 20*MiB); !errors.Is(err, hungUp) {
			t.Errorf("the context ended: %v", err)
		}
		if _, err := s.Create(ctx, 1); !errors.Is(err, hungUp) {
			t.Errorf("the context had ended: %v", err)
		}
		closeAll(t, w)
		noTrace(t, s, dir)
	})
}

// TestOthersMakeRoom: room that another program frees is noticed without a call.
func TestOthersMakeRoom(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	other := open(t, dir, spool.Options{})
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Options{Headroom: 4 * MiB, Wait: 10 * time.Second})
		create(t, s, 20*MiB) // or else nothing would be worth waiting for
		w := create(t, other, 20*MiB)
		time.AfterFunc(5*time.Second, func() { closeAll(t, w) })
		start := time.Now()
		create(t, s, 35*MiB)
		if waited := time.Since(start); waited < 5*time.Second || waited > 6*time.Second {
			t.Errorf("waited %s", waited)
		}
	})
}

// TestNeverOverbooked has many uploads at once compete for a small disk, with and without fallocate.
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

// competingUpload takes up to 12 MiB and checks the disk while it has them.
func competingUpload(ctx context.Context, s *spool.Spool, seed int) error {
	size := rand.New(rand.NewPCG(1, uint64(seed))).IntN(12 * MiB)
	declared := int64(size)
	if seed%7 == 0 {
		size, declared = size/4, -1
	}
	w, err := s.Create(ctx, declared)
	if err != nil {
		return fmt.Errorf("upload of %d bytes: %w", size, err)
	}
	_, err = w.Receive(ctx, bytes.NewReader(body(size)), int64(size))
	u, measured := s.Usage(ctx)
	// Directories, manifests and ext2's blocks of addresses are not counted.
	const slack = 2 * MiB
	if measured == nil && u.Free < u.Headroom-slack {
		err = errors.Join(err, fmt.Errorf("overbooked: %+v", u))
	}
	return errors.Join(err, measured, w.Close())
}

func TestContended(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m")
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, spool.Options{Headroom: 4 * MiB, Wait: 10 * time.Second})
		want := func(contended bool, when string) {
			t.Helper()
			if got := s.Contended(); got != contended {
				t.Errorf("%s: contended is %v", when, got)
			}
		}
		w := create(t, s, 50*MiB)
		_, err := s.Create(t.Context(), 61*MiB)
		isTooLarge(t, err, 60*MiB)
		want(false, "what nobody's going would make room for was refused")
		if at := usage(t, s).Refused; !at.IsZero() {
			t.Errorf("refused for what others hold at %v", at)
		}
		go func() {
			_, err := s.Create(t.Context(), 20*MiB)
			isFull(t, err, true)
		}()
		synctest.Wait()
		want(true, "an upload waits")
		<-time.After(10 * time.Second)
		synctest.Wait()
		want(true, "it was refused just now")
		if at := usage(t, s).Refused; !at.Equal(time.Now()) {
			t.Errorf("refused at %v", at)
		}
		<-time.After(10 * time.Second)
		want(false, "a while later")
		closeAll(t, w)
		noTrace(t, s, dir)
	})
}
