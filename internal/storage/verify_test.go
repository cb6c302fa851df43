package storage_test

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"testing"
	"testing/iotest"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/upload"
)

// seekable gives any reader the Seek of a body.
type seekable struct {
	io.Reader
	io.Seeker
}

func bodyOf(data []byte, wrap func(io.Reader) io.Reader) upload.Body {
	r := bytes.NewReader(data)
	return upload.Body{Reader: seekable{wrap(r), r}, Size: int64(len(data)), CRC32: crc32.ChecksumIEEE(data)}
}

func plain(r io.Reader) io.Reader { return r }

func TestVerifyGivesWhatItReads(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300_000} {
		data := storagetest.Random(1, size).Data
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"plain": plain, "one byte": iotest.OneByteReader, "half": iotest.HalfReader, "early EOF": iotest.DataErrReader,
		} {
			r := storage.Verify(t.Context(), bodyOf(data, wrap))
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %d bytes: read %d bytes, %v", name, size, len(got), err)
			}
			if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("%s, %d bytes: read after the end: %d, %v", name, size, n, err)
			}
		}
		if err := iotest.TestReader(struct{ io.Reader }{storage.Verify(t.Context(), bodyOf(data, plain))}, data); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestVerifyKeepsTheLastByteOfAWrongBody(t *testing.T) {
	broken := errors.New("broken")
	for _, size := range []int{0, 1, 2, 64 << 10, 300_000} {
		data := storagetest.Random(1, size).Data
		for name, change := range map[string]func(*upload.Body){
			"CRC":   func(b *upload.Body) { b.CRC32++ },
			"short": func(b *upload.Body) { b.Size++ },
			"long":  func(b *upload.Body) { b.Size-- },
			"fails": func(b *upload.Body) {
				b.Reader = seekable{io.MultiReader(b.Reader, iotest.ErrReader(broken)), b.Reader}
			},
		} {
			body := bodyOf(data, plain)
			change(&body)
			r := storage.Verify(t.Context(), body)
			got, err := io.ReadAll(r)
			if !errors.Is(err, storage.ErrBody) || name == "fails" && !errors.Is(err, broken) {
				t.Errorf("%s, %d bytes: %v; want ErrBody", name, size, err)
			}
			if len(got) > 0 && (len(got) >= size || int64(len(got)) >= body.Size) {
				t.Errorf("%s, %d bytes: %d were given away", name, size, len(got))
			}
			if _, again := r.Read(make([]byte, 1)); !errors.Is(again, err) {
				t.Errorf("%s, %d bytes: then %v; want the same error", name, size, again)
			}
		}
	}
}

func TestVerifySeeks(t *testing.T) {
	data := storagetest.Random(1, 200_000).Data
	seeks := 0
	body := bodyOf(data, plain)
	body.Reader = countSeeks{body.Reader, &seeks}
	r := storage.Verify(t.Context(), body)
	for _, whence := range []int{io.SeekCurrent, io.SeekEnd, io.SeekStart} {
		want := map[int]int64{io.SeekEnd: 200_000}[whence]
		if n, err := r.Seek(0, whence); n != want || err != nil {
			t.Errorf("seek, whence %d: %d, %v; want %d", whence, n, err, want)
		}
	}
	if seeks != 0 {
		t.Errorf("the body was sought %d times before it was read", seeks)
	}
	for range 3 {
		if n, err := io.CopyN(io.Discard, r, 1000); n != 1000 || err != nil {
			t.Fatalf("read %d: %v", n, err)
		}
		if n, err := r.Seek(0, io.SeekCurrent); n != 1000 || err != nil {
			t.Errorf("position %d, %v; want 1000", n, err)
		}
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Seek(1, io.SeekStart); err == nil {
		t.Error("sought to the middle")
	}
}

// countSeeks counts the seeks of a body.
type countSeeks struct {
	io.ReadSeeker
	n *int
}

// Seek implements io.Seeker.
func (c countSeeks) Seek(offset int64, whence int) (int64, error) {
	*c.n++
	return c.ReadSeeker.Seek(offset, whence)
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	cause := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	r := storage.Verify(ctx, bodyOf(make([]byte, 1000), plain))
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, cause) || errors.Is(err, storage.ErrBody) {
		t.Errorf("read: %v; want the context's cause", err)
	}
}
