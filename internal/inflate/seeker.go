package inflate

import (
	"errors"
	"fmt"
	"io"
)

// A Seeker reads what a stream inflates to, and seeks in it: back by inflating from the stream's start again, forward by reading on.
type Seeker struct {
	src  io.ReadSeeker
	size int64 // inflated
	inf  *Reader
	at   int64 // where inf is; -1 before it has begun
	want int64 // where the next Read reads
}

// NewSeeker returns a Seeker of the stream that src is, which inflates to size bytes. It uses inf until it is no longer used itself.
func NewSeeker(src io.ReadSeeker, size int64, inf *Reader) *Seeker {
	return &Seeker{src: src, size: size, inf: inf, at: -1}
}

// Read implements io.Reader.
func (s *Seeker) Read(p []byte) (n int, err error) {
	if s.want >= s.size {
		return 0, io.EOF
	}
	if err = s.reach(); err == nil {
		n, err = s.inf.Read(p[:min(int64(len(p)), s.size-s.at)])
		s.at += int64(n)
		s.want = s.at
	}
	if err == nil || errors.Is(err, io.EOF) && s.at == s.size {
		return n, nil
	}
	return n, fmt.Errorf("inflate again: %w", err)
}

// reach brings inf to where the next Read wants it.
func (s *Seeker) reach() error {
	if s.at < 0 || s.at > s.want {
		if _, err := s.src.Seek(0, io.SeekStart); err != nil {
			return err
		}
		s.inf.Reset(s.src)
		s.at = 0
	}
	n, err := io.CopyN(io.Discard, s.inf, s.want-s.at)
	s.at += n
	return err
}

// Seek implements io.Seeker. It does no work: the next Read does.
func (s *Seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.want
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	s.want = offset
	return offset, nil
}
