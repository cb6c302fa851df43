package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// errAborted reports a Commit after Abort.
var errAborted = errors.New("it was aborted")

// noteError is an error of the caller's note.
type noteError struct{ error }

// Unwrap returns the caller's error.
func (e noteError) Unwrap() error { return e.error }

// staged is a body whose parts are in the bucket.
type staged struct {
	*multipart
	loc  upload.Location
	obj  upload.Object
	size int64 // of the body

	committed, aborted atomic.Bool
}

// Stage sends body in the parts of a multipart upload to its key. The id is the upload's with the key.
func (s *Store) Stage(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body,
	note func(ctx context.Context, id string) error) (upload.Staged, error) {
	ctx = remembering(ctx)
	staged, err := s.stage(ctx, loc, obj, body, func(id string) error {
		if err := note(ctx, id); err != nil {
			return noteError{err}
		}
		return nil
	})
	if noted := (noteError{}); errors.As(err, &noted) {
		return nil, fmt.Errorf("stage %s: note it: %w", loc.Key, err)
	}
	if err != nil {
		return nil, s.fail(ctx, "stage", loc, s.blameProxy(ctx, err))
	}
	return staged, nil
}

func (s *Store) stage(ctx context.Context, loc upload.Location, obj upload.Object, body upload.Body, note func(id string) error) (_ *staged, err error) {
	create := &s3.CreateMultipartUploadInput{
		Metadata: storage.Metadata(obj), ContentType: aws.String(storage.ContentType(loc.Key)),
		ContentEncoding: encoding(obj),
	}
	if s.checksum == storage.CRC32 {
		create.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
	}
	m, err := s.begin(ctx, s.key(loc), create)
	if err != nil {
		return nil, err
	}
	whole := false
	defer func() {
		if !whole { // even after a panic
			err = errors.Join(err, m.abort(ctx))
		}
	}()
	if err := note(idOf(m.id, m.key)); err != nil {
		return nil, err
	}
	if err := s.sendBody(ctx, m, body); err != nil {
		return nil, err
	}
	whole = true
	return &staged{multipart: m, loc: loc, obj: obj, size: body.Size}, nil
}

// idOf returns the id under which Discard finds a multipart upload to a key.
func idOf(uploadID, key *string) string { return *uploadID + " " + *key }

// Discard aborts the multipart upload of an id that Stage has given to note, or Leftovers has yielded.
func (s *Store) Discard(ctx context.Context, id string) error {
	ctx = remembering(ctx)
	uploadID, key, _ := strings.Cut(id, " ")
	if uploadID == "" || key == "" {
		return nil // not ours
	}
	m := &multipart{store: s, key: &key, id: &uploadID}
	return fault(ctx, "discard what is staged for "+key, m.abort(ctx))
}

// Commit completes the multipart upload.
func (st *staged) Commit(ctx context.Context) error {
	ctx = remembering(ctx)
	return st.store.fail(ctx, "commit", st.loc, st.store.blameProxy(ctx, st.commit(ctx)))
}

func (st *staged) commit(ctx context.Context) error {
	if st.aborted.Load() {
		return errAborted
	}
	etag, err := st.complete(ctx)
	if errors.Is(missing(err), upload.ErrNotFound) {
		etag, err = st.find(ctx, err)
	}
	if err != nil {
		return err
	}
	st.committed.Store(true)
	return st.store.checkMetadata(ctx, st.key, st.obj, etag)
}

// find returns the ETag of the object if it is what was staged, else gone: the multipart upload is complete and the answer was lost, or it was
// aborted.
func (st *staged) find(ctx context.Context, gone error) (etag *string, err error) {
	head, err := st.store.head(ctx, st.key)
	if err != nil {
		return nil, errors.Join(gone, err)
	}
	there := describe(head.Metadata, head.ContentEncoding, nil)
	if there.Size != st.obj.Size || there.MD5 != st.obj.MD5 || there.Gzip != st.obj.Gzip || aws.ToInt64(head.ContentLength) != st.size {
		return nil, gone
	}
	return head.ETag, nil
}

// Abort aborts the multipart upload.
func (st *staged) Abort(ctx context.Context) error {
	if st.committed.Load() {
		return nil
	}
	st.aborted.Store(true)
	ctx = remembering(context.WithoutCancel(ctx))
	return st.store.fail(ctx, "abort", st.loc, st.abort(ctx))
}

// sendBody sends body in parts. It returns an error that wraps storage.ErrBody if the parts together differ from the body's declaration.
func (s *Store) sendBody(ctx context.Context, m *multipart, body upload.Body) error {
	size, count := partsOf(body.Size, s.opts.partSize)
	sums := make([]uint32, count)
	read := inPlace(body)
	if body.At == nil {
		read = s.inTurn(ctx, body)
	}
	err := m.send(ctx, count, func(ctx context.Context, number int32) (sending, error) {
		start := int64(number-1) * size
		content, done, err := read(ctx, start, min(size, body.Size-start))
		if err != nil {
			return nil, err
		}
		return func() (*types.CompletedPart, error) {
			defer done()
			part, crc, err := s.sendPart(ctx, m, number, content)
			sums[number-1] = crc
			return part, err
		}, nil
	})
	if err == nil && ctx.Err() != nil { // its last parts were waited for
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	whole := sums[0]
	for i, crc := range sums[1:] {
		start := int64(i+1) * size
		whole = joinCRC(whole, crc, min(size, body.Size-start))
	}
	if whole != body.CRC32 {
		return fmt.Errorf("%w: CRC-32 %08x instead of %08x", storage.ErrBody, whole, body.CRC32)
	}
	return nil
}

// partsOf returns the size and the number of the parts of a body, of a least size if there may be as many of these.
func partsOf(body, least int64) (size, count int64) {
	size = max(least, (body+maxParts-1)/maxParts)
	return size, max(1, (body+size-1)/size)
}

// sendPart sends one part, which it reads once for its sums before, and returns its CRC-32.
func (s *Store) sendPart(ctx context.Context, m *multipart, number int32, content *io.SectionReader) (*types.CompletedPart, uint32, error) {
	select {
	case s.sending <- struct{}{}:
		defer func() { <-s.sending }()
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	sums, crc, err := s.sumsOf(content)
	if err != nil {
		return nil, 0, err
	}
	size := content.Size()
	out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &s.bucket, Key: m.key, UploadId: m.id, PartNumber: &number,
		Body: partBody{content}, ContentLength: &size,
		ChecksumCRC32: sums.crc32, ContentMD5: sums.md5,
	}, s.payload)
	if err != nil {
		return nil, 0, err
	}
	return &types.CompletedPart{ETag: out.ETag, ChecksumCRC32: sums.crc32}, crc, nil
}

// partBody is a part as it is sent. Its sum was taken before, for storage to compare. A part that can't be read is not sent again.
type partBody struct{ *io.SectionReader }

// Read implements io.Reader.
func (p partBody) Read(buf []byte) (int, error) {
	n, err := p.SectionReader.Read(buf)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", storage.ErrBody, err)
	}
	return n, err
}

// A partReader returns the bytes of one part, to be read until done is called. It is called for one part after the other.
type partReader func(ctx context.Context, start, size int64) (content *io.SectionReader, done func(), err error)

// inPlace reads a body where it is.
func inPlace(body upload.Body) partReader {
	return func(_ context.Context, start, size int64) (*io.SectionReader, func(), error) {
		if start+size == body.Size {
			var more [1]byte
			if n, err := body.At.ReadAt(more[:], body.Size); n > 0 {
				return nil, nil, fmt.Errorf("%w: more than %d bytes", storage.ErrBody, body.Size)
			} else if !errors.Is(err, io.EOF) {
				return nil, nil, fmt.Errorf("%w: %w", storage.ErrBody, err)
			}
		}
		return io.NewSectionReader(body.At, start, size), func() {}, nil
	}
}

// inTurn reads a body from its start, each part into memory.
func (s *Store) inTurn(ctx context.Context, body upload.Body) partReader {
	r := storage.Verify(ctx, body)
	return func(ctx context.Context, _, size int64) (*io.SectionReader, func(), error) {
		buf, done, err := s.buffer(ctx, size)
		if err != nil {
			return nil, nil, err
		}
		if size == 0 {
			_, err = io.Copy(io.Discard, r) // to find its faults
		} else {
			_, err = io.ReadFull(r, buf)
		}
		if err != nil {
			done()
			return nil, nil, err
		}
		return io.NewSectionReader(bytes.NewReader(buf), 0, size), done, nil
	}
}

// buffer returns memory for a part, until done is called. It waits while all parts in memory together are at their limit.
func (s *Store) buffer(ctx context.Context, size int64) (buf []byte, done func(), err error) {
	select {
	case s.buffered <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	memory, _ := s.memory.Get().(*[]byte)
	if memory == nil || int64(cap(*memory)) < size {
		memory = new(make([]byte, size))
	}
	return (*memory)[:size], func() {
		s.memory.Put(memory)
		<-s.buffered
	}, nil
}
