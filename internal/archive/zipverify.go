package archive

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"sync/atomic"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/background"
	"tecken-upload/internal/inflate"
	"tecken-upload/internal/symbol"
)

// verifyZip reads the entries in parallel, the largest first, since it determines the total time. It gives the members in order.
func (a *Archive) verifyZip(ctx context.Context, give func(*Member) error) error {
	a.keys = make(map[symbol.Key]*Member, len(a.members))
	ctx, cancel := context.WithCancel(ctx)
	g, reading := background.NewGroup(ctx)
	defer func() {
		cancel()
		_ = g.Wait() // nothing reads the archive after the return
	}()
	good := a.readZip(reading, g)
	checked := make(map[*Member]bool)
	next := 0
	for range a.entries {
		select {
		case m := <-good:
			checked[m] = true
		case <-reading.Done():
			if err := g.Wait(); err != nil {
				return err
			}
			return context.Cause(ctx)
		}
		for ; next < len(a.members) && checked[a.members[next]]; next++ {
			m := a.members[next]
			m.Index = next
			if err := a.know(m); err != nil {
				return err
			}
			if err := give(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// readZip reads and checks the entries in a group, and sends each good one.
func (a *Archive) readZip(ctx context.Context, g *background.Group) <-chan *Member {
	largest := slices.SortedStableFunc(slices.Values(a.entries), func(x, y *Member) int { return cmp.Compare(y.Size, x.Size) })
	good := make(chan *Member, len(largest)) // room for all: no reader waits
	var begun atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(largest)) {
		g.Go(func() error {
			for {
				i := int(begun.Add(1)) - 1
				if i >= len(largest) {
					return nil
				}
				if err := a.verifyEntry(ctx, largest[i]); err != nil {
					return err
				}
				good <- largest[i]
			}
		})
	}
	return good
}

// verifyEntry takes over what was found of m while the archive arrived, or reads and checks it.
func (a *Archive) verifyEntry(ctx context.Context, m *Member) error {
	if a.early != nil {
		if found, err := m.adopt(ctx, a.early); found || err != nil {
			return err
		}
	}
	return a.work.Inflate(ctx, m.Size, m.verifyZip)
}

// verifyZip reads all of m and checks it.
func (m *Member) verifyZip(turn Turn) error {
	src := newSource(turn.Context(), m.archive.f, m.zip.data, m.zip.size)
	if err := m.verifyFrom(src, turn); err != nil {
		return err
	}
	if m.zip.method == methodStored && m.zip.flags&flagDescriptor != 0 {
		return m.checkDescriptors(turn.Context())
	}
	return nil
}

// verifyFrom reads all of m's data from src and checks it.
func (m *Member) verifyFrom(src *source, turn Turn) error {
	d := newDigest(turn, m.Size)
	read := m.copy
	if m.zip.method == methodDeflated {
		read = m.inflate
	}
	if err := m.fault(src, turn, read(src, d)); err != nil {
		return err
	}
	return m.check(d)
}

// checkDescriptors returns an error if a stored member contains a data descriptor of its own beginning: a reader that does not know the
// size would end the member there.
func (m *Member) checkDescriptors(ctx context.Context) error {
	signature := le.AppendUint32(nil, descriptorSig)
	src := newSource(ctx, m.archive.f, m.zip.data, m.zip.size)
	in := bufio.NewReaderSize(src, bufSize)
	var at int64
	var crc uint32
	for {
		ahead, err := in.Peek(bufSize)
		if src.err != nil {
			return src.err
		}
		i := bytes.Index(ahead, signature)
		switch {
		case i < 0 && err != nil:
			return nil // the end
		case i < 0:
			i = len(ahead) - len(signature)
		case i == 0 && len(ahead) >= 12 && le.Uint32(ahead[4:]) == crc && le.Uint32(ahead[8:]) == uint32(at):
			return fault.Invalid("The member %s has a data descriptor at %d, before its end", fault.Quote(m.Name), at)
		case i == 0:
			i = 1
		}
		crc = crc32.Update(crc, crc32.IEEETable, ahead[:i])
		at += int64(i)
		_, _ = in.Discard(i)
	}
}

// copy writes the content of m, a stored member, to d.
func (m *Member) copy(src *source, d *digest) error { return d.read(src) }

// inflate writes the content of m, a deflated member, to d.
func (m *Member) inflate(src *source, d *digest) error {
	in := &summed{src: src}
	inf := inflaters.Get().(*inflate.Reader)
	inf.Reset(in)
	if err := d.read(inf); err != nil {
		return err
	}
	read := src.pos - src.base - int64(inf.Buffered())
	inf.Reset(nil)
	inflaters.Put(inf)
	if m.zip.size == unknownSize {
		m.zip.size = read
	}
	if left := m.zip.size - read; left > 0 {
		return fault.Invalid("The member %s has %d bytes after the end of its deflate stream", fault.Quote(m.Name), left)
	}
	sum, err := in.upTo(src.base + read)
	if err != nil {
		return err
	}
	m.zip.gzipCRC = crc32.Update(sum, crc32.IEEETable, gzipTrailer(d.crc, d.n))
	return nil
}

// summed is a source with the CRC-32 of a gzip made of it, without the trailer.
type summed struct {
	src          *source
	before, read mark // before the last read, and after it
}

// A mark is a CRC-32 up to an offset in the archive.
type mark struct {
	at  int64
	crc uint32
}

// begin is the mark before the first byte of src.
func (s *summed) begin() mark { return mark{s.src.base, crc32.ChecksumIEEE(gzipHeader[:])} }

func (s *summed) Read(p []byte) (int, error) {
	if s.read.at == 0 {
		s.read = s.begin()
	}
	n, err := s.src.Read(p)
	if n > 0 {
		s.before = s.read
		s.read = mark{s.src.pos, crc32.Update(s.read.crc, crc32.IEEETable, p[:n])}
	}
	return n, err
}

// upTo returns the CRC-32 up to an offset. It reads again what is between that and the last read's beginning, for a decoder reads on after a
// stream's end.
func (s *summed) upTo(at int64) (uint32, error) {
	if at == s.read.at {
		return s.read.crc, nil
	}
	from := s.before
	if from.at > at {
		from = s.begin()
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for from.at < at {
		n, err := newSource(s.src.ctx, s.src.r, from.at, at-from.at).Read(*buf)
		if err != nil {
			return 0, err
		}
		from = mark{from.at + int64(n), crc32.Update(from.crc, crc32.IEEETable, (*buf)[:n])}
	}
	return from.crc, nil
}

// fault returns the archive's fault that ended the reading of m with err, an *Error, or what is ours as it is.
func (m *Member) fault(src *source, turn Turn, err error) error {
	var bad *Error
	switch {
	case err == nil:
		return nil
	case src.err != nil:
		return src.err
	case turn.Context().Err() != nil:
		return context.Cause(turn.Context())
	case errors.As(err, &bad):
		return err
	case errors.Is(err, errMore):
		return fault.Invalid("The member %s has more than the %d bytes it declares", fault.Quote(m.Name), m.Size)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.Damaged(err, "The data of member %s ends too early", fault.Quote(m.Name))
	}
	return fault.Damaged(err, "The data of member %s is damaged", fault.Quote(m.Name))
}

// check compares m's content with the archive's declarations, and keeps the results.
func (m *Member) check(d *digest) error {
	switch {
	case d.n != m.Size:
		return fault.Invalid("The member %s has %d bytes instead of the %d it declares", fault.Quote(m.Name), d.n, m.Size)
	case d.crc != m.crc:
		return fault.Invalid("The member %s is damaged: its CRC-32 is %08x instead of %08x", fault.Quote(m.Name), d.crc, m.crc)
	}
	d.into(m)
	return nil
}
