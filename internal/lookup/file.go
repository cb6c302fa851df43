package lookup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"tecken-upload/internal/background"
	"tecken-upload/internal/upload"
)

// maxSizedGzip is the size limit, in bytes, of a gzip stream for its last four bytes to be taken as its inflated size: they count modulo
// 4 GiB.
const maxSizedGzip = 512 << 20

// A File is a file in storage, in its stored form.
type File struct {
	io.ReadSeekCloser // at its start; nil if only looked at
	Object            upload.Object
	Gzip              bool  // it is a gzip stream
	Stored            int64 // bytes
	// Inflated is the size for clients without gzip, or -1 if unknown. For a binary without metadata it is from the stream's trailer: good
	// enough for a progress bar, and for nothing else.
	Inflated int64
}

// Look describes the result of Find or FindBinary. It takes a slot for a moment. It fails like Open.
func (f *Finder) Look(ctx context.Context, found Found) (file File, err error) {
	defer func() { f.forgetMissing(found, err) }()
	err = f.looks.use(ctx, func(ctx context.Context) error {
		file, err = f.open(ctx, found)
		if err != nil {
			return err
		}
		content := file.ReadSeekCloser
		file.ReadSeekCloser = nil
		return content.Close()
	})
	return file, err
}

// Open opens the result of Find or FindBinary for reading until ctx ends. The caller closes it, and bounds the number of open files. It
// fails like Find: a cached file may be gone or replaced; then the cache drops it.
func (f *Finder) Open(ctx context.Context, found Found) (File, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := background.After(lookupTimeout, "lookup timeout", func() { cancel(errSlow) })
	file, err := f.open(ctx, found)
	if !timer.Stop() && err == nil {
		err = errors.Join(errSlow, file.Close())
	}
	if err != nil {
		f.forgetMissing(found, err)
		err = because(ctx, err)
		cancel(nil)
		return File{}, err
	}
	file.ReadSeekCloser = &opened{file.ReadSeekCloser, cancel}
	return file, nil
}

// opened is a content with a context that ends with it.
type opened struct {
	io.ReadSeekCloser
	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (o *opened) Close() error {
	defer o.cancel(nil)
	return o.ReadSeekCloser.Close()
}

func (f *Finder) open(ctx context.Context, found Found) (File, error) {
	content, obj, err := f.Storage.OpenContent(ctx, found.Location)
	if err != nil {
		return File{}, err
	}
	file, err := describe(content, obj, found)
	if err != nil {
		content.Close()
	}
	return file, err
}

// forgetMissing drops a cached file, if err says that it is gone.
func (f *Finder) forgetMissing(found Found, err error) {
	switch {
	case !errors.Is(err, upload.ErrNotFound):
	case found.binary != nil:
		f.binaries.forget(found.binary.cacheKey)
	default:
		f.objects.forget(cacheKey(found.Location))
	}
}

// describe makes a File of an open content, or fails with upload.ErrNotFound if it is not the found one.
func describe(content io.ReadSeekCloser, obj upload.Object, found Found) (File, error) {
	file := File{ReadSeekCloser: content, Object: obj, Gzip: obj.Gzip}
	var err error
	if found.binary != nil {
		binary, err := found.binary.identify(content, found.Location)
		if err != nil {
			return File{}, err
		}
		file.Gzip = binary.zipped
	}
	file.Stored, err = content.Seek(0, io.SeekEnd)
	if err == nil {
		file.Inflated, err = file.inflated(found.binary != nil)
	}
	if err == nil {
		_, err = content.Seek(0, io.SeekStart)
	}
	if err != nil {
		return File{}, fmt.Errorf("measure %s: %w", found.Location.Key, err)
	}
	return file, nil
}

// inflated determines the inflated size, from the trailer if that is allowed.
func (f *File) inflated(trailed bool) (int64, error) {
	switch {
	case !f.Gzip:
		return f.Stored, nil
	case f.Object.Gzip && f.Object.Size >= 0:
		return f.Object.Size, nil
	case !trailed || f.Stored > maxSizedGzip || f.Stored < 4:
		return -1, nil
	}
	var trailer [4]byte
	if _, err := f.Seek(-4, io.SeekEnd); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(f, trailer[:]); err != nil {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint32(trailer[:])), nil
}
