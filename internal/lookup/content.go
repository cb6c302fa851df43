package lookup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"tecken-upload/internal/inflate"
	"tecken-upload/internal/upload"
)

const (
	// headLen is the part of a binary read first, in bytes: linkers put the build id after the program headers, within the first KiB. Load
	// commands of Mach-O take some KiB.
	headLen = 64 << 10
	// maxInflated bounds how much of a gzip file is inflated to recognise it, in bytes.
	maxInflated = 128 << 20
)

// errOpaque is wrapped by the error about a gzip file that is broken, or too large to examine.
var errOpaque = errors.New("it can't be inflated")

// inflatedHead reads the head of a file, inflated if gzip. A broken stream has an empty one.
func inflatedHead(content io.Reader) (head []byte, zipped bool, err error) {
	from := &source{Reader: content}
	buffered := bufio.NewReader(from)
	magic, _ := buffered.Peek(2)
	zipped = string(magic) == "\x1f\x8b"
	var text io.Reader = buffered
	if zipped {
		if text, err = inflate.NewGzip(buffered); err != nil {
			return nil, true, from.failed
		}
	}
	head = make([]byte, headLen)
	n, _ := io.ReadFull(text, head)
	return head[:n], zipped, from.failed
}

// A source distinguishes an unreadable file from a short one: to a reader both look too short, since a broken connection is an unexpected
// EOF as well.
type source struct {
	io.Reader
	failed error // of a Read, except io.EOF
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && (!errors.Is(err, io.EOF) || errors.Is(err, upload.ErrUnavailable)) {
		s.failed = err
	}
	return n, err
}

// heeding is a content that is read until a context ends, since a local file ignores contexts.
type heeding struct {
	io.ReadSeeker
	ctx context.Context //nolint:containedctx // a Reader has no other way to get a context
}

// Read implements io.Reader.
func (h *heeding) Read(p []byte) (int, error) {
	if h.ctx.Err() != nil {
		return 0, context.Cause(h.ctx)
	}
	return h.ReadSeeker.Read(p)
}

// inflated is a gzip file's content, up to a bound. Going back inflates it again.
type inflated struct {
	stored io.ReadSeeker
	most   int64 // bytes
	from   *source
	gzip   io.Reader // nil: not begun
	at     int64     // gzip's offset
	next   int64     // the next Read's offset
}

// Seek implements io.Seeker.
func (f *inflated) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekEnd:
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{f}); err != nil {
			return 0, err
		}
		f.next += offset
	case io.SeekCurrent:
		f.next += offset
	default:
		f.next = offset
	}
	return f.next, nil
}

// Read implements io.Reader.
func (f *inflated) Read(p []byte) (int, error) {
	if err := f.reach(); err != nil {
		return 0, f.kind(err)
	}
	n, err := f.gzip.Read(p)
	f.at += int64(n)
	f.next = f.at
	if f.at > f.most {
		return 0, fmt.Errorf("%w: it has more than %d bytes", errOpaque, f.most)
	}
	return n, f.kind(err)
}

// reach inflates up to the next Read's offset.
func (f *inflated) reach() error {
	if f.next > f.most {
		return fmt.Errorf("%w: it has more than %d bytes", errOpaque, f.most)
	}
	if f.gzip == nil || f.at > f.next {
		f.from, f.at = &source{Reader: f.stored}, 0
		if _, err := f.stored.Seek(0, io.SeekStart); err != nil {
			f.from.failed = err
			return err
		}
		gzip, err := inflate.NewGzip(f.from)
		if f.gzip = gzip; err != nil {
			return err
		}
	}
	n, err := io.CopyN(io.Discard, f.gzip, f.next-f.at)
	f.at += n
	return err
}

// kind distinguishes a broken stream from an unreadable one.
func (f *inflated) kind(err error) error {
	switch {
	case f.from != nil && f.from.failed != nil:
		return f.from.failed
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, errOpaque):
		return err
	}
	return fmt.Errorf("%w: %w", errOpaque, err)
}

// readAt reads n bytes at an offset that the file itself names; none if it is shorter.
func readAt(content io.ReadSeeker, offset uint64, n int) ([]byte, error) {
	part, err := readUpTo(content, offset, n)
	if len(part) < n {
		return nil, err
	}
	return part, err
}

// readUpTo reads up to n bytes at an offset.
func readUpTo(content io.ReadSeeker, offset uint64, n int) ([]byte, error) {
	if offset > 1<<62 {
		return nil, nil
	}
	if _, err := content.Seek(int64(offset), io.SeekStart); err != nil {
		return nil, err
	}
	from, part := &source{Reader: content}, make([]byte, n)
	n, _ = io.ReadFull(from, part)
	return part[:n], from.failed
}
