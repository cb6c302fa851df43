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

	"tecken-upload/internal/background"
	"tecken-upload/internal/inflate"
)

// verifyZip reads the members in parallel, the largest first: it alone decides how long that takes.
func (a *Archive) verifyZip(ctx context.Context, acquire Acquire) error {
	largest := slices.SortedStableFunc(slices.Values(a.entries), func(x, y *Member) int { return cmp.Compare(y.Size, x.Size) })
	g, gctx := background.NewGroup(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, m := range largest {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			slot, err := acquire(gctx, m.Size)
			if err != nil {
				return err
			}
			defer slot.Release()
			return m.verifyZip(slot) //nolint:contextcheck // it has the slot's
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// verifyZip reads all of m and checks it.
func (m *Member) verifyZip(slot Slot) error {
	ctx := slot.Context()
	src := newSource(ctx, m.archive.f, m.zip.data, m.zip.size)
	d := newDigest(slot, m)
	read := m.copy
	if m.zip.method == methodDeflated {
		read = m.inflate
	}
	if err := m.fault(ctx, src, read(src, d)); err != nil {
		return err
	}
	if err := m.check(d); err != nil {
		return err
	}
	if m.zip.method == methodStored && m.zip.flags&flagDescriptor != 0 {
		return m.checkDescriptors(ctx)
	}
	return nil
}

// checkDescriptors makes sure that a stored member has no data descriptor of its own beginning in it: a reader that does not know
// the size yet takes the member to end there.
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
			return invalid("The member %s has a data descriptor at %d, before its end", quote(m.Name), at)
		case i == 0:
			i = 1
		}
		crc = crc32.Update(crc, crc32.IEEETable, ahead[:i])
		at += int64(i)
		_, _ = in.Discard(i)
	}
}

// copy writes the content of m, which is stored, to d.
func (m *Member) copy(src *source, d *digest) error {
	_, err := io.CopyBuffer(d, src, make([]byte, bufSize))
	return err
}

// inflate writes the content of m, which is deflated, to d.
func (m *Member) inflate(src *source, d *digest) error {
	data := &summed{r: src, crc: crc32.ChecksumIEEE(gzipHeader[:])}
	inf := m.archive.inflaters.Get().(*inflate.Reader)
	inf.Reset(data)
	err := guard(func() error {
		_, err := io.CopyBuffer(d, inf, make([]byte, bufSize))
		return err
	})
	if err != nil {
		return err
	}
	if left := m.zip.size - (src.pos - src.base) + int64(inf.Buffered()); left > 0 {
		return invalid("The member %s has %d bytes after the end of its deflate stream", quote(m.Name), left)
	}
	m.archive.inflaters.Put(inf)
	m.zip.gzipCRC = crc32.Update(data.crc, crc32.IEEETable, gzipTrailer(d.crc, d.n))
	return nil
}

// fault tells whose fault it is that reading m ended with err: the archive's is an *Error.
func (m *Member) fault(ctx context.Context, src *source, err error) error {
	var fault *Error
	switch {
	case err == nil:
		return nil
	case src.err != nil:
		return src.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &fault):
		return err
	case errors.Is(err, errMore):
		return invalid("The member %s has more than the %d bytes it declares", quote(m.Name), m.Size)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return damaged(err, "The data of member %s ends too early", quote(m.Name))
	}
	return damaged(err, "The data of member %s is damaged", quote(m.Name))
}

// check compares what was read of m with what the archive declares, and keeps what was learned.
func (m *Member) check(d *digest) error {
	switch {
	case d.n != m.Size:
		return invalid("The member %s has %d bytes instead of the %d it declares", quote(m.Name), d.n, m.Size)
	case d.crc != m.crc:
		return invalid("The member %s is damaged: its CRC-32 is %08x instead of %08x", quote(m.Name), d.crc, m.crc)
	}
	d.into(m)
	return nil
}

// A summed reader computes the CRC-32 of what it reads.
type summed struct {
	r   io.Reader
	crc uint32
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.crc = crc32.Update(s.crc, crc32.IEEETable, p[:n])
	return n, err
}
