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

// maxSizedGzip is up to which size, in bytes, a gzip stream's last four bytes are believed to tell of its inflated
// size: they count modulo 4 GiB.
const maxSizedGzip = 512 << 20

// A File is one that is in storage, as it is stored.
type File struct {
	io.ReadSeekCloser // at its start; nil where it was only looked at
	Object            upload.Object
	Gzip              bool  // it is a gzip stream
	Stored            int64 // bytes
	// Inflated is how many bytes it has for those that take no gzip, or -1 where nothing tells. Of a binary without
	// metadata it is what the stream's trailer says: good enough for a progress bar, and for nothing else.
	Inflated int64
}

// Look describes what Find or FindBinary found. It takes a place of its own for a moment. It fails as Open does.
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

// Open opens what Find or FindBinary found. It can be read until ctx ends, and its caller closes it, and bounds how many are open at a time.
// Open fails as Find does: a remembered file may be gone, or be another one by now. Its answer is forgotten then.
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

// opened is a content that ends its context.
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

// forgetMissing forgets where something was found, if err tells that it is not there any more.
func (f *Finder) forgetMissing(found Found, err error) {
	switch {
	case !errors.Is(err, upload.ErrNotFound):
	case found.binary != nil:
		f.binaries.forget(found.binary.cacheKey)
	default:
		f.objects.forget(cacheKey(found.Location))
	}
}

// describe makes a File of a content that has just been opened, or fails with upload.ErrNotFound where it is not what
// was found.
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

// inflated finds out the inflated size, with the help of the trailer where that may be read.
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
