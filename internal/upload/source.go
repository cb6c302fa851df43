package upload

import (
	"context"
	"io"
	"iter"
	"os"

	"tecken-upload/internal/archive"
)

// A Source brings the members of one upload. Every kind of source is in this package, because it moves the run from phase to phase; [Archive] is
// one. What differs by protocol, how the bytes arrive, is a [Deliverer].
type Source interface {
	// Members receives the body and yields the members in order, each once it is verified, even while the body still arrives. When the
	// last byte is there, Members calls in.run.received, and from then on uses the context that this returns, which has the upload's
	// deadline. The last value may be an error, which ends the upload.
	Members(ctx context.Context, in *Arrival) iter.Seq2[*archive.Member, error]

	// Each calls do for each member that is to be stored, after Members has yielded the last one, as archive.Archive's Each does.
	Each(ctx context.Context, parallel int, do func(context.Context, *archive.Member) error) error
}

// An Arrival is an upload as its Source sees it.
type Arrival struct {
	run      *run
	follower *archive.Follower // nil before the first byte
}

// Receive writes content, an archive, to the upload's room on disk as it arrives, while its members are verified, asked for and staged. try says
// that it is known to be a try upload's. Receive returns an error of content as it is; if content has too many bytes, the error wraps
// spool.ErrTooLarge.
func (in *Arrival) Receive(ctx context.Context, content io.Reader, try bool) (*os.File, error) {
	r := in.run
	return r.workspace.Receive(ctx, content, r.MaxSize, func(f io.ReaderAt, size int64) {
		if in.follower == nil {
			r.ahead = newAhead(ctx, r, try || r.req.Token.TryOnly())
			in.follower = archive.Follow(ctx, f, r.Limits, r, r.ahead.found)
		}
		r.ahead.grow(size)
		r.meter.arrives(size)
		in.follower.Arrived(size)
	})
}

// open opens the archive that has arrived.
func (in *Arrival) open(ctx context.Context, f *os.File) (*archive.Archive, error) {
	if in.follower == nil { // an empty file
		return archive.Open(ctx, f, in.run.up.Size, in.run.Limits, in.run)
	}
	return in.follower.Open(ctx, in.run.up.Size)
}

// close ends what goes on beside the arrival.
func (in *Arrival) close() {
	if in.follower != nil {
		in.follower.Close()
	}
}

// Accepted reports that the upload needs its client no longer, with what is known by then. The arrival of the body implies it.
func (in *Arrival) Accepted(known Delivery) {
	in.run.learn(known)
	in.run.accepted()
}

// A Delivery is a file that has arrived, or what is known of it.
type Delivery struct {
	File     *os.File // all of it; owned by the workspace
	Filename string   // as in Upload.Filename
	Try      bool     // the client asks for a try upload

	DownloadURL  string   // as in Upload.DownloadURL, where the request did not say it
	RedirectURLs []string // as in Upload.RedirectURLs
}

// A Deliverer brings an archive as one file.
type Deliverer interface {
	// Deliver receives the file, at most once. With an error, the delivery has what is known.
	Deliver(ctx context.Context, in *Arrival) (Delivery, error)
}

// Archive returns the source of an archive. Its members are verified as they arrive, as far as that can be; the archive is opened once it
// is whole.
func Archive(d Deliverer) Source { return &arrived{deliverer: d} }

type arrived struct {
	deliverer Deliverer
	archive   *archive.Archive
}

// Members implements Source.
func (s *arrived) Members(ctx context.Context, in *Arrival) iter.Seq2[*archive.Member, error] {
	return func(yield func(*archive.Member, error) bool) {
		defer in.close() // even after a panic
		d, err := s.deliverer.Deliver(ctx, in)
		if err != nil {
			in.run.learn(d)
			yield(nil, err)
			return
		}
		if ctx, err = in.run.received(ctx, d); err == nil {
			s.archive, err = in.open(ctx, d.File)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		in.run.found(s.archive.Format, s.archive.Declared)
		s.archive.Members(ctx)(yield)
	}
}

// Each implements Source.
func (s *arrived) Each(ctx context.Context, parallel int, do func(context.Context, *archive.Member) error) error {
	return s.archive.Each(ctx, parallel, do)
}
