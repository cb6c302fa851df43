package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// bodies are both kinds of a body of c: the kind that can be read anywhere, and the kind that can't.
func (c Content) bodies(t *testing.T) map[string]func() (upload.Body, func()) {
	return map[string]func() (upload.Body, func()){
		"from its start": func() (upload.Body, func()) { return c.Body(t) },
		"anywhere":       func() (upload.Body, func()) { return c.BodyAt(t) },
	}
}

// stage stages c at loc, or fails the test. It returns the id that was noted, or none.
func (c Content) stage(t *testing.T, s Store, loc upload.Location, open func() (upload.Body, func())) (staged upload.Staged, id string) {
	t.Helper()
	body, done := open()
	defer done()
	var read atomic.Bool
	body.Reader = &hookReader{ReadSeeker: body.Reader, before: func(int64) error { read.Store(true); return nil }}
	staged, err := s.Stage(t.Context(), loc, c.Object, body, func(_ context.Context, noted string) error {
		if id != "" || noted == "" || read.Load() {
			t.Errorf("noted %q after %q; the body was read before: %v", noted, id, read.Load())
		}
		id = noted
		return nil
	})
	if err != nil {
		t.Fatalf("stage: %v", err)
	}
	return staged, id
}

func commit(t *testing.T, staged upload.Staged) {
	t.Helper()
	if err := staged.Commit(t.Context()); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func abort(t *testing.T, staged upload.Staged) {
	t.Helper()
	if err := staged.Abort(t.Context()); err != nil {
		t.Errorf("abort: %v", err)
	}
}

// checkInvisible fails the test if there is an object at loc, or in a listing.
func (b Backend) checkInvisible(t *testing.T, loc upload.Location) {
	t.Helper()
	checkAbsent(t, b.Store, loc)
	if content, _, err := b.Store.OpenContent(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
		t.Errorf("open content: %v; want ErrNotFound", err)
		if err == nil {
			content.Close()
		}
	}
	if keys := b.list(t, storage.ObjectKey(loc), ""); len(keys) > 0 {
		t.Errorf("listed are %q", keys)
	}
}

func testStage(t *testing.T, b Backend) {
	for _, size := range []int{0, 1, small, large} {
		for kind, body := range Random(uint64(size), size).bodies(t) {
			t.Run(fmt.Sprintf("%d bytes, %s", size, kind), func(t *testing.T) {
				c := Random(uint64(size), size)
				former := Random(1, small+1)
				replaced := Location(t, kind+"/1/a.pdb")
				former.Put(t, b.Store, replaced)
				fresh := Location(t, fmt.Sprintf("%s/2/%d.pdb", kind, size))
				for _, loc := range []upload.Location{fresh, replaced} {
					staged, _ := c.stage(t, b.Store, loc, body)
					if loc == fresh {
						b.checkInvisible(t, loc)
					} else {
						former.Check(t, b.Store, loc)
					}
					commit(t, staged)
					c.Check(t, b.Store, loc)
					abort(t, staged)
					c.Check(t, b.Store, loc)
				}
			})
		}
	}
}

// testStageSym keeps what describes a gzip.
func testStageSym(t *testing.T, b Backend) {
	loc, c := Location(t, "a.pdb/1/a.sym"), Random(1, small)
	c.Object.Gzip, c.Object.Size, c.Object.MD5 = true, 12345, upload.MD5{0xab}
	loc.Try = true
	staged, _ := c.stage(t, b.Store, loc, func() (upload.Body, func()) { return c.Body(t) })
	commit(t, staged)
	c.Check(t, b.Store, loc)
}

func testAbort(t *testing.T, b Backend) {
	c, former := Random(1, large), Random(2, small)
	for kind, body := range c.bodies(t) {
		fresh, stored := Location(t, kind+"/1/a.pdb"), Location(t, kind+"/2/a.pdb")
		former.Put(t, b.Store, stored)
		for _, loc := range []upload.Location{fresh, stored} {
			staged, _ := c.stage(t, b.Store, loc, body)
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			for range 2 {
				if err := staged.Abort(ended); err != nil {
					t.Errorf("abort after the end of its context: %v", err)
				}
			}
			b.checkTidy(t)
			if err := staged.Commit(t.Context()); err == nil {
				t.Error("committed after an abort")
			}
		}
		b.checkInvisible(t, fresh)
		former.Check(t, b.Store, stored)
	}
}

func testTwoStaged(t *testing.T, b Backend) {
	loc, first, second := Location(t, "a.pdb/1/a.pdb"), Random(1, large), Random(2, large+1)
	one, _ := first.stage(t, b.Store, loc, func() (upload.Body, func()) { return first.BodyAt(t) })
	two, _ := second.stage(t, b.Store, loc, func() (upload.Body, func()) { return second.BodyAt(t) })
	commit(t, two)
	second.Check(t, b.Store, loc)
	commit(t, one)
	first.Check(t, b.Store, loc)

	one, _ = first.stage(t, b.Store, loc, func() (upload.Body, func()) { return first.Body(t) })
	two, _ = second.stage(t, b.Store, loc, func() (upload.Body, func()) { return second.Body(t) })
	abort(t, one)
	commit(t, two)
	second.Check(t, b.Store, loc)
}

// testStageUnusable stages bodies that differ from their declaration. Some differ only where they are read in place.
func testStageUnusable(t *testing.T, b Backend) {
	bodies := unusable()
	c := Random(7, large)
	sum := crc32.ChecksumIEEE(c.Data)
	for name, at := range map[string]upload.Body{
		"wrong CRC":   {At: bytes.NewReader(c.Data), Size: large, CRC32: sum ^ 1},
		"short":       {At: bytes.NewReader(c.Data[1:]), Size: large, CRC32: sum},
		"very short":  {At: bytes.NewReader(c.Data[:1]), Size: large, CRC32: sum},
		"long":        {At: bytes.NewReader(c.Data), Size: large - 1, CRC32: crc32.ChecksumIEEE(c.Data[:large-1])},
		"not empty":   {At: bytes.NewReader(c.Data[:1])},
		"CRC of none": {At: bytes.NewReader(nil), CRC32: 1},
		"fails":       {At: failingAt{bytes.NewReader(c.Data), large / 2}, Size: large, CRC32: sum},
	} {
		at.Reader = io.NewSectionReader(at.At, 0, 1<<40)
		bodies["in place: "+name] = at
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			loc := Location(t, "a.pdb/1/a.pdb")
			_, err := b.Store.Stage(t.Context(), loc, c.Object, body, unnoted)
			if !errors.Is(err, storage.ErrBody) || errors.Is(err, upload.ErrUnavailable) {
				t.Errorf("stage: %v; want ErrBody, and not ErrUnavailable", err)
			}
			b.checkTidy(t)
		})
	}
}

// unnoted notes nothing.
func unnoted(context.Context, string) error { return nil }

// failingAt fails where it is read from an offset on.
type failingAt struct {
	io.ReaderAt
	from int64
}

// ReadAt implements io.ReaderAt.
func (r failingAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= r.from {
		return 0, errors.New("broken")
	}
	return r.ReaderAt.ReadAt(p, off)
}

func testStageCancelled(t *testing.T, b Backend) {
	loc, c := Location(t, "a.pdb/1/a.pdb"), Random(1, large)
	for kind, open := range c.bodies(t) {
		for when, limit := range map[string]int64{"before": 0, "at its start": 1, "amid": large / 2, "at its end": large - 1<<10} {
			t.Run(when+", "+kind, func(t *testing.T) {
				cause := errors.New("the reason")
				ctx, cancel := context.WithCancelCause(t.Context())
				var read atomic.Int64
				count := func(n int) {
					if read.Add(int64(n)) >= limit {
						cancel(cause)
					}
				}
				count(0)
				body, done := open()
				body.Reader = &countingReader{body.Reader, count}
				if body.At != nil {
					body.At = &countingReaderAt{body.At, count}
				}
				_, err := b.Store.Stage(ctx, loc, c.Object, body, unnoted)
				done()
				if !errors.Is(err, cause) || errors.Is(err, upload.ErrUnavailable) {
					t.Errorf("stage: %v; want the context's cause, and not ErrUnavailable", err)
				}
				b.checkTidy(t)
			})
		}
	}
	b.checkInvisible(t, loc)
}

// testCommitCancelled commits after the end of the context: the object stays as it was.
func testCommitCancelled(t *testing.T, b Backend) {
	loc, c := Location(t, "a.pdb/1/a.pdb"), Random(1, large)
	staged, _ := c.stage(t, b.Store, loc, func() (upload.Body, func()) { return c.BodyAt(t) })
	cause := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := staged.Commit(ctx); !errors.Is(err, cause) || errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("commit: %v; want the context's cause, and not ErrUnavailable", err)
	}
	b.checkInvisible(t, loc)
	abort(t, staged)
}

// testNoteFails ends a staging whose id can't be noted, before the body is read.
func testNoteFails(t *testing.T, b Backend) {
	loc, c := Location(t, "a.pdb/1/a.pdb"), Random(1, large)
	cause, called := errors.New("the reason"), false
	body, done := c.BodyAt(t)
	body.At = failingAt{body.At, 0}
	staged, err := b.Store.Stage(t.Context(), loc, c.Object, upload.Body{Reader: body.Reader, Size: body.Size, CRC32: body.CRC32},
		func(context.Context, string) error { called = true; return cause })
	done()
	switch {
	case called && (!errors.Is(err, cause) || errors.Is(err, upload.ErrUnavailable)):
		t.Errorf("stage: %v; want the error of note", err)
	case !called && err != nil:
		t.Errorf("stage: %v", err)
	case !called:
		abort(t, staged)
	}
	b.checkInvisible(t, loc)
}

func testDiscard(t *testing.T, b Backend) {
	ids := []string{"", "x", ".", "..", "../v1", "no-such-upload v1/a.pdb/1/a.pdb", "x y z", " "}
	loc, c := Location(t, "a.pdb/1/a.pdb"), Random(1, large)
	body := func() (upload.Body, func()) { return c.BodyAt(t) }
	staged, id := c.stage(t, b.Store, loc, body)
	commit(t, staged)
	ids = append(ids, id) // of what was committed
	staged, id = c.stage(t, b.Store, loc, body)
	abort(t, staged)
	ids = append(ids, id) // of what was aborted
	for _, id := range ids {
		if err := b.Store.Discard(t.Context(), id); err != nil {
			t.Errorf("discard %q, where nothing is: %v", id, err)
		}
	}
	c.Check(t, b.Store, loc)

	other := Location(t, "a.pdb/2/a.pdb")
	staged, id = c.stage(t, b.Store, other, body)
	if id == "" {
		abort(t, staged)
		return
	}
	if err := b.Store.Discard(t.Context(), id); err != nil {
		t.Errorf("discard: %v", err)
	}
	b.checkTidy(t)
	if err := staged.Commit(t.Context()); !errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("commit what was discarded: %v; want ErrUnavailable", err)
	}
	b.checkInvisible(t, other)
	abort(t, staged)
}

// testLeftovers lists what is staged, in many pages, and discards it.
func testLeftovers(t *testing.T, b Backend) {
	c := Random(1, small)
	Random(2, small).Put(t, b.Store, Location(t, "a.pdb/1/a.pdb"))
	var want []string
	var all []upload.Staged
	defer func() {
		for _, staged := range all {
			abort(t, staged)
		}
	}()
	for _, key := range []string{"a.pdb/1/a.pdb", "a.pdb/2/a.pdb", "a b+c/1/größe.pdb", "z/1/z.sym"} {
		loc := Location(t, key)
		for _, loc.Try = range []bool{false, true} {
			for range 2 {
				staged, id := c.stage(t, b.Store, loc, func() (upload.Body, func()) { return c.Body(t) })
				all, want = append(all, staged), append(want, id)
			}
		}
	}
	if b.Unlisted {
		want = nil
	}
	slices.Sort(want)
	later := time.Now().Add(time.Hour)
	if diff := cmp.Diff(want, b.leftovers(t, later), cmpEmpty); diff != "" {
		t.Errorf("leftovers (-want +got):\n%s", diff)
	}
	if ids := b.leftovers(t, time.Now().Add(-time.Hour)); len(ids) > 0 {
		t.Errorf("leftovers of an hour ago: %q", ids)
	}
	for found, err := range b.Store.Leftovers(t.Context(), later) {
		if age := time.Since(found.Since).Abs(); err != nil || age > time.Minute {
			t.Errorf("leftover %+v, %v", found, err)
		}
		if err := b.Store.Discard(t.Context(), found.ID); err != nil {
			t.Errorf("discard: %v", err)
		}
		break
	}
	for found, err := range b.Store.Leftovers(t.Context(), later) {
		if err == nil {
			err = b.Store.Discard(t.Context(), found.ID)
		}
		if err != nil {
			t.Errorf("discard: %v", err)
		}
	}
	if ids := b.leftovers(t, later); len(ids) > 0 {
		t.Errorf("left over are %q", ids)
	}

	cause := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	staged, _ := c.stage(t, b.Store, Location(t, "a.pdb/3/a.pdb"), func() (upload.Body, func()) { return c.Body(t) })
	all = append(all, staged)
	cancel(cause)
	for _, err := range b.Store.Leftovers(ctx, later) {
		if !errors.Is(err, cause) {
			t.Errorf("leftovers after the end of the context: %v", err)
		}
	}
}

// leftovers returns the ids that the Store yields, sorted.
func (b Backend) leftovers(t *testing.T, before time.Time) (ids []string) {
	t.Helper()
	for found, err := range b.Store.Leftovers(t.Context(), before) {
		if err != nil {
			t.Fatalf("leftovers: %v", err)
		}
		ids = append(ids, found.ID)
	}
	slices.Sort(ids)
	return ids
}
