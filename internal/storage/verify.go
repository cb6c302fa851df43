package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"tecken-upload/internal/upload"
)

// ErrBody is wrapped by every error about a body that cannot be read, or that is not what it was declared
// to be. Storage is not at fault, and trying again does not help.
var ErrBody = errors.New("unusable body")

// Verify returns a reader of body that ends with an error wrapping [ErrBody] unless the body has exactly
// its declared length and CRC-32, and with the context's cause once ctx is done.
//
// It gives its last bytes away only after it has checked all of them: what was written from it is
// shorter than declared whenever it fails. Its Seek supports offset 0, from the start or from the end.
func Verify(ctx context.Context, body upload.Body) io.ReadSeeker {
	return &verifier{ctx: ctx, body: body}
}

type verifier struct {
	ctx  context.Context
	body upload.Body
	read int64
	sum  uint32
	used bool  // body's reader is no longer at its start
	err  error // what every further Read returns; io.EOF after the last byte
}

// Read implements io.Reader.
func (v *verifier) Read(p []byte) (int, error) {
	if v.ctx.Err() != nil {
		return 0, context.Cause(v.ctx)
	}
	if v.err != nil {
		return 0, v.err
	}
	p = p[:min(int64(len(p)), v.body.Size-v.read)]
	n, err := 0, error(nil)
	if len(p) > 0 {
		v.used = true
		n, err = v.body.Reader.Read(p)
	}
	v.sum = crc32.Update(v.sum, crc32.IEEETable, p[:n])
	v.read += int64(n)
	switch {
	case err != nil && err != io.EOF:
		v.err = fmt.Errorf("%w: %w", ErrBody, err)
		return 0, v.err
	case v.read == v.body.Size:
		return v.end(n)
	case err == io.EOF:
		v.err = fmt.Errorf("%w: %d bytes instead of %d", ErrBody, v.read, v.body.Size)
		return 0, v.err
	}
	return n, nil
}

// end checks a body that has been read to its declared length, and gives away its last n bytes.
func (v *verifier) end(n int) (int, error) {
	v.used = true
	var extra [1]byte
	switch _, err := io.ReadFull(v.body.Reader, extra[:]); {
	case err == nil:
		v.err = fmt.Errorf("%w: more than %d bytes", ErrBody, v.body.Size)
	case err != io.EOF:
		v.err = fmt.Errorf("%w: %w", ErrBody, err)
	case v.sum != v.body.CRC32:
		v.err = fmt.Errorf("%w: CRC-32 %08x instead of %08x", ErrBody, v.sum, v.body.CRC32)
	default:
		v.err = io.EOF
		if n > 0 {
			return n, nil
		}
	}
	return 0, v.err
}

// Seek implements io.Seeker for offset 0. From the current position it tells that position.
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
		if _, err := v.body.Reader.Seek(0, io.SeekStart); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrBody, err)
		}
	}
	v.read, v.sum, v.used, v.err = 0, 0, false, nil
	return 0, nil
}
