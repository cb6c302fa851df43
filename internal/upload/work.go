package upload

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/sched"
)

// Inflate implements archive.Work.
func (r *run) Inflate(ctx context.Context, cost int64, do func(archive.Turn) error) error {
	t := &turn{run: r}
	if err := t.take(ctx, cost); err != nil {
		return err
	}
	defer func() {
		t.slot.Release()
		r.worked(&r.meter.verified, 0, true)
	}()
	return do(t)
}

// A turn is a slot for work of the processor, and then another one.
type turn struct {
	run  *run
	slot *sched.Slot
}

func (t *turn) take(ctx context.Context, cost int64) (err error) {
	slot, err := t.run.VerifySlots.Acquire(ctx, t.run.task(cost))
	if err == nil {
		t.slot = slot
	}
	return err
}

// Context implements archive.Turn.
func (t *turn) Context() context.Context { return t.slot.Context() }

// Moved implements archive.Turn.
func (t *turn) Moved(n int64) {
	t.run.worked(&t.run.meter.verified, n, false)
	t.run.moved(t.slot)()
}

// Pause implements archive.Turn.
func (t *turn) Pause(ctx context.Context, wait func() (cost int64, err error)) error {
	t.slot.Release()
	cost, err := wait()
	if err != nil {
		return err
	}
	return t.take(ctx, cost)
}

// Stage implements archive.Work. It holds a slot for work of the processor, and none of storage's.
func (r *run) Stage(ctx context.Context, cost int64, write func(archive.Scratch) error) (archive.Scratch, error) {
	slot, err := r.VerifySlots.Acquire(ctx, r.task(cost))
	if err != nil {
		return nil, err
	}
	defer slot.Release()
	scratch, err := r.workspace.Scratch(slot.Context()) //nolint:contextcheck // it descends from ctx
	if err != nil {
		return nil, err
	}
	if err := write(growing{scratch, r.moved(slot)}); err != nil {
		return nil, errors.Join(err, scratch.Close())
	}
	return scratch, nil
}

// Memory implements archive.Work. The slots are held until giveMemoryBack.
func (r *run) Memory(ctx context.Context, bytes int64) (err error) {
	r.giveMemoryBack()
	task := r.task(r.up.Size)
	task.Slots = int((bytes + DecoderSlot - 1) / DecoderSlot)
	r.stream, err = r.DecoderSlots.Acquire(ctx, task)
	return err
}

// Spare implements archive.Work.
func (r *run) Spare(bytes int64) (giveBack func(), ok bool) {
	r.spared, ok = r.spare.take(r.SpareMemory, bytes, r.up.TokenID)
	return r.spared, ok
}

func (r *run) giveMemoryBack() {
	if r.spared != nil {
		r.spared()
		r.spared = nil
	}
	if r.stream != nil {
		r.stream.Release()
		r.stream = nil
	}
}

// moved returns what reports that work behind a slot gets on, and with it the stream that it may belong to: one of its
// members may take longer than the watch over progress waits.
func (r *run) moved(slot *sched.Slot) func() {
	stream := r.stream
	return func() {
		if slot.Moved() && stream != nil {
			stream.Moved()
		}
	}
}

// moving is a body that reports when it gets on. What is read once more, for another attempt, is no progress; but where the first
// reading, to hash it, came to its end, the second one is what sends it.
type moving struct {
	io.ReadSeeker
	moved func()

	at    int64 // where the next read begins
	seen  int64 // up to where progress was reported
	ended bool  // all of it was read
	again bool  // and is reported once more
}

// Read implements io.Reader.
func (m *moving) Read(p []byte) (int, error) {
	n, err := m.ReadSeeker.Read(p)
	m.at += int64(n)
	m.ended = m.ended || errors.Is(err, io.EOF)
	if m.at > m.seen {
		m.seen = m.at
		m.moved()
	}
	return n, err
}

// Seek implements io.Seeker.
func (m *moving) Seek(offset int64, whence int) (int64, error) {
	at, err := m.ReadSeeker.Seek(offset, whence)
	if err == nil {
		m.at = at
		if m.ended && !m.again {
			m.seen, m.again = at, true
		}
	}
	return at, err
}

// movingAt is a body that is read at several places at once, and reports that it gets on. Each byte is read to hash it and to send it; more is
// another attempt, and no progress.
type movingAt struct {
	io.ReaderAt
	moved func()
	left  *atomic.Int64 // bytes until then
}

func newMovingAt(r io.ReaderAt, size int64, moved func()) movingAt {
	m := movingAt{ReaderAt: r, moved: moved, left: new(atomic.Int64)}
	m.left.Store(2 * size)
	return m
}

// ReadAt implements io.ReaderAt.
func (m movingAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.ReaderAt.ReadAt(p, off)
	if m.left.Add(-int64(n)) >= 0 {
		m.moved()
	}
	return n, err
}

// growing is a scratch file that reports each write.
type growing struct {
	archive.Scratch
	moved func()
}

// Write implements io.Writer.
func (g growing) Write(p []byte) (int, error) {
	g.moved()
	return g.Scratch.Write(p)
}
