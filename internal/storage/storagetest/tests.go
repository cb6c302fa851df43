package storagetest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"errors"
	"hash/crc32"
	"io"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/upload"
)

// Sizes of stored objects: one small enough for one write, one large enough to have a middle.
const (
	small = 1000
	large = 20 << 20
)

func testRoundTrip(t *testing.T, b Backend) {
	const text = "MODULE windows x86_64 44E4EC8C2F41492B9369D6B9A059577C2 firefox.pdb\nPUBLIC 1000 0 main\n"
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	if _, err := io.WriteString(zw, text); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	sym := Content{
		Data:   packed.Bytes(),
		Object: upload.Object{Size: int64(len(text)), MD5: md5.Sum([]byte(text)), Gzip: true},
	}
	for name, c := range map[string]struct {
		key     string
		content Content
	}{
		"gzip sym":   {"firefox.pdb/44E4EC8C2F41492B9369D6B9A059577C2/firefox.sym", sym},
		"plain sym":  {"plain.pdb/44E4EC8C2F41492B9369D6B9A059577C2/PLAIN.SYM", Random(1, small)},
		"binary":     {"firefox.pdb/44E4EC8C2F41492B9369D6B9A059577C2/firefox.pd_", Random(2, small)},
		"compressed": {"libxul.so/ABCDEF0/libxul.so.dbg.gz", Content{Data: sym.Data, Object: upload.Object{Size: int64(len(sym.Data)), MD5: md5.Sum(sym.Data)}}},
		"one byte":   {"one/1/one.dll", Random(4, 1)},
		"empty":      {"empty/0/empty.sym", Random(5, 0)},
		"large":      {"large/1A/large.pdb", Random(6, large)},
	} {
		t.Run(name, func(t *testing.T) {
			loc := Location(t, c.key)
			for _, loc.Try = range []bool{false, true} {
				c.content.Put(t, b.Store, loc)
				c.content.Check(t, b.Store, loc)
			}
		})
	}
}

func testOddKeys(t *testing.T, b Backend) {
	keys := []string{"a b", "a  b ", " a", "a+b", "a&b=c", "a@b", "~a", "(a)", "a!", "$a", "a,b;c", "a:b", "a?b", "a*", "a.", "a..b", "-a", "_", "CON", "A", "a", "größe", "微信", "Tést 테스트", "🦊"}
	for i, name := range keys {
		loc := Location(t, name+"/"+"0f/"+name)
		Random(uint64(i), small+i).Put(t, b.Store, loc)
	}
	for i, name := range keys {
		Random(uint64(i), small+i).Check(t, b.Store, Location(t, name+"/0F/"+name))
	}
}

func testReplace(t *testing.T, b Backend) {
	loc := Location(t, "a.pdb/1/a.sym")
	for i, size := range []int{small, large, 0, small, small} {
		c := Random(uint64(i), size)
		c.Object.Gzip = i%2 == 0
		c.Put(t, b.Store, loc)
		c.Check(t, b.Store, loc)
	}
}

func testTryApart(t *testing.T, b Backend) {
	regular := Location(t, "a.pdb/1/a.pdb")
	try := regular
	try.Try = true
	Random(1, small).Put(t, b.Store, try)
	checkAbsent(t, b.Store, regular)
	Random(2, small).Put(t, b.Store, regular)
	Random(1, small).Check(t, b.Store, try)
	Random(2, small).Check(t, b.Store, regular)
}

func testMissing(t *testing.T, b Backend) {
	Random(1, small).Put(t, b.Store, Location(t, "a.pdb/1/a.pdb"))
	for _, key := range []string{"a.pdb/1/b.pdb", "a.pdb/2/a.pdb", "b.pdb/1/a.pdb", "a.pdb/1/a.pdb."} {
		loc := Location(t, key)
		checkAbsent(t, b.Store, loc)
		if err := b.Store.Refresh(t.Context(), loc, Random(1, small).Object); !errors.Is(err, upload.ErrNotFound) {
			t.Errorf("refresh %s: %v; want ErrNotFound", key, err)
		}
		checkAbsent(t, b.Store, loc)
	}
}

// unusable returns bodies that differ from their declaration, or can't be read to their end.
func unusable() map[string]upload.Body {
	fresh, errBroken := Random(7, large), errors.New("broken")
	return map[string]upload.Body{
		"wrong CRC":       {Reader: bytes.NewReader(fresh.Data), Size: large, CRC32: crc32.ChecksumIEEE(fresh.Data) ^ 1},
		"short":           {Reader: bytes.NewReader(fresh.Data[1:]), Size: large, CRC32: crc32.ChecksumIEEE(fresh.Data[1:])},
		"long":            {Reader: bytes.NewReader(fresh.Data), Size: large - 1, CRC32: crc32.ChecksumIEEE(fresh.Data[:large-1])},
		"empty":           {Reader: bytes.NewReader(nil), Size: 1, CRC32: 0},
		"not empty":       {Reader: bytes.NewReader([]byte{1}), Size: 0, CRC32: 0},
		"empty, CRC of 1": {Reader: bytes.NewReader(nil), Size: 0, CRC32: 1},
		"small wrong CRC": {Reader: bytes.NewReader([]byte("abc")), Size: 3, CRC32: 1},
		"fails at once":   failing(fresh, 0, errBroken),
		"fails amid":      failing(fresh, large/2, errBroken),
		"fails at end":    failing(fresh, large-1, errBroken),
	}
}

func testUnusableBody(t *testing.T, b Backend) {
	for name, body := range unusable() {
		t.Run(name, func(t *testing.T) {
			loc := Location(t, "a.pdb/1/a.pdb")
			former := Random(8, small)
			former.Put(t, b.Store, loc)
			absent := loc
			absent.Try = true
			for _, loc := range []upload.Location{loc, absent} {
				if _, err := body.Reader.Seek(0, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				err := b.Store.Put(t.Context(), loc, former.Object, body)
				if !errors.Is(err, storage.ErrBody) || errors.Is(err, upload.ErrUnavailable) {
					t.Errorf("put: %v; want ErrBody, and not ErrUnavailable", err)
				}
			}
			former.Check(t, b.Store, loc)
			checkAbsent(t, b.Store, absent)
			b.checkTidy(t)
		})
	}
}

// failing returns a body of c with a reader that fails once at bytes are read.
func failing(c Content, at int64, with error) upload.Body {
	return upload.Body{
		Reader: &hookReader{
			ReadSeeker: bytes.NewReader(c.Data),
			before: func(read int64) error {
				if read >= at || at-read < 64<<10 {
					return with
				}
				return nil
			},
		},
		Size:  int64(len(c.Data)),
		CRC32: crc32.ChecksumIEEE(c.Data),
	}
}

func testCancelledBefore(t *testing.T, b Backend) {
	loc := Location(t, "a.pdb/1/a.pdb")
	former := Random(1, small)
	former.Put(t, b.Store, loc)

	cause := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	body, done := Random(2, small).Body(t)
	putErr := b.Store.Put(ctx, loc, Random(2, small).Object, body)
	done()
	_, statErr := b.Store.Stat(ctx, loc)
	_, openErr := b.Store.Open(ctx, loc)
	for doing, err := range map[string]error{
		"put": putErr, "stat": statErr, "open": openErr,
		"refresh": b.Store.Refresh(ctx, loc, former.Object),
	} {
		if !errors.Is(err, cause) || errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("%s: %v; want the context's cause, and not ErrUnavailable", doing, err)
		}
	}
	former.Check(t, b.Store, loc)
}

func testCancelledAmid(t *testing.T, b Backend) {
	loc := Location(t, "a.pdb/1/a.pdb")
	former, fresh := Random(1, small), Random(2, large)
	former.Put(t, b.Store, loc)
	absent := loc
	absent.Try = true
	for _, loc := range []upload.Location{loc, absent} {
		cause := errors.New("the reason")
		ctx, cancel := context.WithCancelCause(t.Context())
		body, done := fresh.Body(t)
		body.Reader = &hookReader{ReadSeeker: body.Reader, before: func(read int64) error {
			if read >= large/2 {
				cancel(cause)
			}
			return nil
		}}
		err := b.Store.Put(ctx, loc, fresh.Object, body)
		done()
		if !errors.Is(err, cause) || errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("put: %v; want the context's cause, and not ErrUnavailable", err)
		}
	}
	former.Check(t, b.Store, loc)
	checkAbsent(t, b.Store, absent)
}

func testConcurrentPuts(t *testing.T, b Backend) {
	const writers, rounds = 8, 5
	// Half of them have one size, so that only their MD5s differ.
	contents := make([]Content, writers)
	for i := range contents {
		contents[i] = Random(uint64(i), small+i/2*small)
	}
	for round := range rounds {
		loc := Location(t, "a.pdb/1/a.pdb")
		loc.Try = round%2 == 1
		var wg sync.WaitGroup
		for _, c := range contents {
			wg.Go(func() {
				body, done := c.Body(t)
				defer done()
				if err := b.Store.Put(t.Context(), loc, c.Object, body); err != nil {
					t.Errorf("put: %v", err)
				}
			})
		}
		wg.Wait()
		data, obj := read(t, b.Store, loc)
		if obj.Size != int64(len(data)) || obj.MD5 != md5.Sum(data) {
			t.Errorf("stored are %d bytes of MD5 %x, described as %d of %x", len(data), md5.Sum(data), obj.Size, obj.MD5)
		}
	}
}

// replace replaces an object so many times, by one content and another, until wait returns.
func replace(t *testing.T, b Backend, times int) (loc upload.Location, wait func()) {
	loc = Location(t, "a.pdb/1/a.pdb")
	contents := []Content{Random(1, small), Random(2, small)}
	contents[0].Put(t, b.Store, loc)
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range times {
			body, done := contents[i%2].Body(t)
			if err := b.Store.Put(t.Context(), loc, contents[i%2].Object, body); err != nil {
				t.Errorf("put: %v", err)
			}
			done()
		}
	})
	return loc, writer.Wait
}

func testReadWhileReplaced(t *testing.T, b Backend) {
	const rounds = 50
	loc, wait := replace(t, b, rounds)
	defer wait()
	for range rounds {
		data, obj := read(t, b.Store, loc)
		if obj.MD5 != md5.Sum(data) {
			t.Errorf("read were %d bytes of MD5 %x, described as %d of %x", len(data), md5.Sum(data), obj.Size, obj.MD5)
		}
	}
}

func testRefresh(t *testing.T, b Backend) {
	for _, key := range []string{"a.pdb/1/a.sym", "a b+c/1/a&(b).pdb", "größe.pdb/1/微信.exe"} {
		loc := Location(t, key)
		c := Random(1, small)
		c.Object.Gzip = loc.Key.IsSym()
		c.Put(t, b.Store, loc)
		old := time.Now().Add(-1000 * time.Hour).Truncate(time.Second)
		if err := b.Age(storage.ObjectKey(loc), old); err != nil {
			t.Fatal(err)
		}
		if obj, err := b.Store.Stat(t.Context(), loc); err != nil || !obj.Modified.Equal(old) {
			t.Fatalf("stat: modified %v, %v; want %v", obj.Modified, err, old)
		}
		if err := b.Store.Refresh(t.Context(), loc, c.Object); err != nil {
			t.Fatalf("refresh: %v", err)
		}
		c.Check(t, b.Store, loc)
	}
}

func testNameAndCheck(t *testing.T, b Backend) {
	if got := b.Store.Name(); got != b.Name {
		t.Errorf("name %q; want %q", got, b.Name)
	}
	if err := b.Store.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	for range 2 {
		if err := b.Store.Prove(t.Context()); err != nil {
			t.Errorf("prove: %v", err)
		}
	}
	if keys := b.list(t, "", ""); len(keys) > 0 {
		t.Errorf("a proof is listed as a symbol: %q", keys)
	}
}
