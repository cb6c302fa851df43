package storage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"tecken-upload/internal/upload"
)

// ErrBody is wrapped by every error about a body that is unreadable or differs from its declaration. The fault is not storage's, and a
// retry does not help.
var ErrBody = errors.New("unusable body")

// Verify returns a reader of body that ends with an error wrapping [ErrBody] unless the body has exactly its declared length and CRC-32,
// and with the context's cause once ctx is done.
//
// It holds the last byte back until all bytes are checked: whenever it fails, what was read from it is shorter than the body and shorter
// than declared. Its Seek supports offset 0 with each whence.
func Verify(ctx context.Context, body upload.Body) io.ReadSeeker {
	return &verifier{ctx: ctx, body: body, buf: bufio.NewReaderSize(body.Reader, verifyBuffer)}
}

// verifyBuffer is the number of bytes read at a time.
const verifyBuffer = 64 << 10

type verifier struct {
	ctx  context.Context
	body upload.Body
	buf  *bufio.Reader // of body.Reader
	used bool          // body.Reader is past its start
	read int64
	sum  uint32
	err  error // the result of every further Read; io.EOF after the last byte
}

// Read implements io.Reader.
func (v *verifier) Read(p []byte) (int, error) {
	if v.ctx.Err() != nil {
		return 0, context.Cause(v.ctx)
	}
	if v.err != nil || len(p) == 0 {
		return 0, v.err
	}
	v.used = true
	head, err := v.buf.Peek(2)
	switch have := v.read + int64(v.buf.Buffered()); {
	case have > v.body.Size:
		return v.fault(fmt.Errorf("more than %d bytes", v.body.Size))
	case err == io.EOF && have < v.body.Size:
		return v.fault(fmt.Errorf("%d bytes instead of %d", have, v.body.Size))
	case err == io.EOF:
		return v.end(p, head)
	case err != nil:
		return v.fault(err)
	}
	// One byte stays behind until it is known to be the last or not.
	n, _ := v.buf.Read(p[:min(len(p), v.buf.Buffered()-1)]) // from memory: it cannot fail
	v.sum = crc32.Update(v.sum, crc32.IEEETable, p[:n])
	v.read += int64(n)
	return n, nil
}

// end releases the last byte, or nothing of an empty body.
func (v *verifier) end(p, last []byte) (int, error) {
	if sum := crc32.Update(v.sum, crc32.IEEETable, last); sum != v.body.CRC32 {
		return v.fault(fmt.Errorf("CRC-32 %08x instead of %08x", sum, v.body.CRC32))
	}
	n := copy(p, last)
	v.read += int64(n)
	v.err = io.EOF
	return n, io.EOF
}

func (v *verifier) fault(err error) (int, error) {
	v.err = fmt.Errorf("%w: %w", ErrBody, err)
	return 0, v.err
}

// Seek implements io.Seeker for offset 0.
func (v *verifier) Seek(offset int64, whence int) (int64, error) {
	switch {
	case offset != 0:
		return 0, errors.New("seek a body: only to its start or end")
	case whence == io.SeekCurrent:
		return v.read, nil
	case whence == io.SeekEnd:
		v.read, v.err = v.body.Size, io.EOF
		return v.read, nil
	}
	if v.used {
		v.buf.Reset(v.body.Reader)
		if _, err := v.body.Reader.Seek(0, io.SeekStart); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrBody, err)
		}
	}
	v.read, v.sum, v.used, v.err = 0, 0, false, nil
	return 0, nil
}
