package storagetest

import (
	"bytes"
	"crypto/md5"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"tecken-upload/internal/upload"
)

// testContent reads objects from any place in them.
func testContent(t *testing.T, b Backend) {
	loc := Location(t, "lib stdc++.so/1/a+b~.sym")
	if _, _, err := b.Store.OpenContent(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
		t.Errorf("open what is not there: %v; want ErrNotFound", err)
	}
	for _, size := range []int{0, 1, small} {
		c := Random(uint64(size), size)
		c.Object.Gzip = size == small
		c.Put(t, b.Store, loc)
		content, obj, err := b.Store.OpenContent(t.Context(), loc)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		c.compare(t, "open content", obj)
		if err := iotest.TestReader(content, c.Data); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if n, err := content.Seek(0, io.SeekEnd); n != int64(size) || err != nil {
			t.Errorf("the end is at %d, %v; want %d", n, err, size)
		}
		if _, err := content.Seek(-1, io.SeekStart); err == nil {
			t.Error("sought to before the start")
		}
		if err := content.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// testContentWhileReplaced reads objects twice while they are replaced: what is read belongs to its description, or is
// refused.
func testContentWhileReplaced(t *testing.T, b Backend) {
	const rounds = 30
	loc, wait := replace(t, b, rounds)
	defer wait()
	for range rounds {
		content, obj, err := b.Store.OpenContent(t.Context(), loc)
		if err != nil {
			t.Errorf("open: %v", err)
			continue
		}
		head := make([]byte, 100)
		_, err = io.ReadFull(content, head)
		if err == nil {
			_, err = content.Seek(0, io.SeekStart)
		}
		data, readErr := io.ReadAll(content)
		if err = errors.Join(err, readErr, content.Close()); err != nil {
			continue // it was replaced in between, and says so
		}
		if obj.MD5 != md5.Sum(data) || !bytes.HasPrefix(data, head) {
			t.Errorf("read were %d bytes of MD5 %x, described as %d of %x", len(data), md5.Sum(data), obj.Size, obj.MD5)
		}
	}
}
