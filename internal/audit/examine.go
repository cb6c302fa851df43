package audit

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"

	"tecken-upload/internal/inflate"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// maxReadings bounds the readings of a file that seems to change.
const maxReadings = 4

// A Kind is the state of a file.
type Kind string

// Reported kinds.
const (
	Broken       Kind = "broken"         // it is not what its metadata say
	Moved        Kind = "moved"          // the same, and it was moved out of the way
	Unverifiable Kind = "not verifiable" // it has no metadata to be compared with
	Unreadable   Kind = "unreadable"     // it could not be read to its end: nothing is known of it
)

// Other kinds.
const (
	good        Kind = "good"
	gone        Kind = "gone"        // it is not there any more
	passed      Kind = "passed"      // it is older than it is to be
	interrupted Kind = "interrupted" // the audit ended before the file was done
)

// A Finding is the result for one file.
type Finding struct {
	Location upload.Location
	Kind     Kind
	Reason   string

	version string // of a broken file
	err     error  // that interrupted the audit
}

// examine determines a file's kind. A reading that finds a fault is repeated: the reading may be at fault.
func (a *Audit) examine(ctx context.Context, loc upload.Location) (f Finding) {
	for range maxReadings {
		former := f
		f = a.read(ctx, loc)
		switch {
		case ctx.Err() != nil:
			return Finding{Location: loc, Kind: interrupted, err: context.Cause(ctx)}
		case f.Kind == Broken && f == former, f.Kind == Unreadable && former.Kind == Unreadable:
			return f
		case f.Kind != Broken && f.Kind != Unreadable:
			return f
		}
	}
	return Finding{Location: loc, Kind: Unreadable, Reason: "each reading differs"}
}

// repair moves a broken file out of the way. A file that has changed since is examined again.
func (a *Audit) repair(ctx context.Context, f Finding) Finding {
	for range maxReadings {
		if f.Kind != Broken {
			return f
		}
		switch err := a.Storage.SetAside(ctx, f.Location, f.version); {
		case err == nil:
			f.Kind = Moved
		case errors.Is(err, storage.ErrChanged):
			f = a.examine(ctx, f.Location)
		case errors.Is(err, upload.ErrNotFound):
			f.Kind = gone
		case ctx.Err() != nil:
			f.Kind, f.err = interrupted, context.Cause(ctx)
		default:
			f.Reason += fmt.Sprintf("; it can't be moved: %v", err)
			return f
		}
	}
	return f
}

// read reads a file once.
func (a *Audit) read(ctx context.Context, loc upload.Location) Finding {
	f := Finding{Location: loc, Kind: good}
	stored, err := a.Storage.Open(ctx, loc)
	switch {
	case errors.Is(err, upload.ErrNotFound):
		f.Kind = gone
		return f
	case err != nil:
		f.Kind, f.Reason = Unreadable, err.Error()
		return f
	}
	defer stored.Close()
	if stored.Object.Size < 0 {
		f.Kind, f.Reason = Unverifiable, "no size and MD5 are recorded"
		return f
	}
	from := &source{ctx: ctx, audit: a, stored: stored}
	fault := compare(from, stored.Object)
	switch {
	case from.failed != nil:
		f.Kind, f.Reason = Unreadable, fmt.Sprintf("read %s: %v", loc.Key, from.failed)
	case fault != nil:
		f.Kind, f.Reason, f.version = Broken, fault.Error(), stored.Version
	}
	return f
}

// compare reads a stored file to its end, and returns how it differs from obj.
func compare(stored io.Reader, obj upload.Object) error {
	content := stored
	if obj.Gzip {
		var err error
		if content, err = inflate.NewGzip(stored); err != nil {
			return fmt.Errorf("it can't be inflated: %w", err)
		}
	}
	sum := md5.New()
	// Ask for one byte more: only then is the end of a gzip file checked.
	n, err := io.Copy(sum, io.LimitReader(content, obj.Size+1))
	switch {
	case err != nil:
		return fmt.Errorf("it can't be inflated: after %d bytes: %w", n, err)
	case n > obj.Size:
		return fmt.Errorf("it has more than the %d bytes that are recorded", obj.Size)
	case n < obj.Size:
		return fmt.Errorf("it has %d bytes, %d are recorded", n, obj.Size)
	case upload.MD5(sum.Sum(nil)) != obj.MD5:
		return fmt.Errorf("its MD5 is %x, %x is recorded", sum.Sum(nil), obj.MD5)
	}
	return nil
}

// A source is a file's stored bytes, read at the audit's pace. It keeps the error of an unreadable file, since a decoder reports that like
// a broken file.
type source struct {
	ctx    context.Context //nolint:containedctx // a Reader has no other way to get a context
	audit  *Audit
	stored io.Reader
	failed error // of a Read, except io.EOF
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if s.failed != nil {
		return 0, s.failed
	}
	n, err := s.stored.Read(p)
	s.audit.readBytes(n)
	if waitErr := s.audit.pace.wait(s.ctx, n); waitErr != nil {
		err = waitErr
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = err
	}
	return n, err
}

func (a *Audit) readBytes(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.totals.Bytes += int64(n)
}
