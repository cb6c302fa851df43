// Package storagetest is the suite that every storage of symbol files passes. It is upload.Storage's contract in code, with reading back
// and the health check.
package storagetest

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"hash/crc32"
	"io"
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// settleTimeout is a server's time to notice a cut connection and to tidy up.
const settleTimeout = testenv.Patience

// A Store is the subject of the suite.
type Store interface {
	upload.Storage
	// Open opens the object at loc for a comparison with its metadata, or returns ErrNotFound.
	Open(ctx context.Context, loc upload.Location) (*storage.Stored, error)
	// OpenContent opens the object at loc for reading at any offset, or returns ErrNotFound.
	OpenContent(ctx context.Context, loc upload.Location) (io.ReadSeekCloser, upload.Object, error)
	// List yields the symbol files with object keys that begin with prefix and come after a key, in the order of their keys.
	List(ctx context.Context, prefix, after string) iter.Seq2[storage.Entry, error]
	// SetAside moves the object at loc out of the way, or returns ErrNotFound, or storage.ErrChanged if it has another version.
	SetAside(ctx context.Context, loc upload.Location, version string) error
	// Discard throws away what a dead process has left under an id that Stage noted, or Leftovers yielded. It returns nil where nothing is.
	Discard(ctx context.Context, id string) error
	// Leftovers yields what was staged before a time and is neither committed nor aborted, as far as storage lists it.
	Leftovers(ctx context.Context, before time.Time) iter.Seq2[storage.Leftover, error]
	// Check returns an error wrapping ErrUnavailable if storage can't be reached.
	Check(ctx context.Context) error
	// Prove writes a little, and returns an error wrapping ErrUnavailable if nothing can be stored.
	Prove(ctx context.Context) error
}

// A Backend is an empty Store, and the suite's direct access to what it stores.
type Backend struct {
	Store Store

	// Name is the Store's expected Name.
	Name string

	// Read returns the object of that key, or an error that wraps fs.ErrNotExist.
	Read func(objectKey string) ([]byte, error)

	// Remove removes the object of that key.
	Remove func(objectKey string) error

	// Age sets the time at which the object of that key was last stored or refreshed, in whole seconds.
	Age func(objectKey string, modified time.Time) error

	// Leftovers names everything in the backend that belongs to no object.
	Leftovers func() ([]string, error)

	// Unlisted says that the Store's Leftovers does not yield what is staged: storage lists none of it, or it dies with its process.
	Unlisted bool
}

// Run runs the suite, each test of it against an empty backend of its own.
func Run(t *testing.T, open func(t *testing.T) Backend) {
	for name, test := range map[string]func(*testing.T, Backend){
		"round trip":             testRoundTrip,
		"odd keys":               testOddKeys,
		"replace":                testReplace,
		"try uploads apart":      testTryApart,
		"missing":                testMissing,
		"unusable body":          testUnusableBody,
		"cancelled before":       testCancelledBefore,
		"cancelled amid":         testCancelledAmid,
		"concurrent puts":        testConcurrentPuts,
		"read while replaced":    testReadWhileReplaced,
		"refresh":                testRefresh,
		"content":                testContent,
		"content while replaced": testContentWhileReplaced,
		"list":                   testList,
		"list while it changes":  testListWhileItChanges,
		"set aside":              testSetAside,
		"set aside what changed": testSetAsideChanged,
		"name and health check":  testNameAndCheck,
		"stage":                  testStage,
		"stage a sym":            testStageSym,
		"stage and abort":        testAbort,
		"two staged of one key":  testTwoStaged,
		"stage an unusable body": testStageUnusable,
		"cancelled staging":      testStageCancelled,
		"cancelled commit":       testCommitCancelled,
		"note fails":             testNoteFails,
		"discard":                testDiscard,
		"leftovers":              testLeftovers,
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			test(t, b)
			b.checkTidy(t)
		})
	}
}

// Location returns a regular upload's location for a symbol key that must be valid.
func Location(t testing.TB, key string) upload.Location {
	t.Helper()
	k, err := symbol.ParseKey(key)
	if err != nil {
		t.Fatalf("parse key %q: %v", key, err)
	}
	return upload.Location{Key: k}
}

// A Content is a symbol file: its stored bytes and their Object.
type Content struct {
	Data   []byte
	Object upload.Object
}

// Random returns a Content of size bytes determined by seed.
func Random(seed uint64, size int) Content {
	data := make([]byte, size)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(key).Read(data) // it never fails
	return Content{Data: data, Object: upload.Object{Size: int64(size), MD5: md5.Sum(data)}}
}

// Body returns a body of c that fails the test on any use outside the contract. Call done when Put has returned.
func (c Content) Body(t testing.TB) (body upload.Body, done func()) {
	r := &strictReader{t: t, r: bytes.NewReader(c.Data)}
	return upload.Body{
		Reader: r,
		Size:   int64(len(c.Data)),
		CRC32:  crc32.ChecksumIEEE(c.Data),
	}, r.end
}

// BodyAt returns a body of c that can be read anywhere.
func (c Content) BodyAt(t testing.TB) (body upload.Body, done func()) {
	at := &strictReaderAt{t: t, r: bytes.NewReader(c.Data)}
	body, end := c.Body(t)
	body.At = at
	return body, func() {
		end()
		at.ended.Store(true)
	}
}

// Put stores c at loc, or fails the test.
func (c Content) Put(t testing.TB, s upload.Storage, loc upload.Location) {
	t.Helper()
	body, done := c.Body(t)
	defer done()
	if err := s.Put(t.Context(), loc, c.Object, body); err != nil {
		t.Fatalf("put: %v", err)
	}
}

// Check fails the test unless exactly c is stored at loc.
func (c Content) Check(t testing.TB, s Store, loc upload.Location) {
	t.Helper()
	got, err := s.Stat(t.Context(), loc)
	if err != nil {
		t.Fatalf("stat: %v", err)
	}
	c.compare(t, "stat", got)
	data, got := read(t, s, loc)
	c.compare(t, "open", got)
	if !bytes.Equal(data, c.Data) {
		t.Errorf("stored are %d bytes, CRC-32 %08x; want %d bytes, CRC-32 %08x",
			len(data), crc32.ChecksumIEEE(data), len(c.Data), crc32.ChecksumIEEE(c.Data))
	}
}

func (c Content) compare(t testing.TB, what string, got upload.Object) {
	t.Helper()
	if age := time.Since(got.Modified).Abs(); age > time.Minute {
		t.Errorf("%s: modified %v ago", what, age)
	}
	got.Modified = time.Time{}
	if diff := cmp.Diff(c.Object, got); diff != "" {
		t.Errorf("%s: object differs (-want +got):\n%s", what, diff)
	}
}

// read returns the whole object at loc.
func read(t testing.TB, s Store, loc upload.Location) ([]byte, upload.Object) {
	t.Helper()
	r, err := s.Open(t.Context(), loc)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return data, r.Object
}

// checkAbsent fails the test if there is an object at loc.
func checkAbsent(t *testing.T, s Store, loc upload.Location) {
	t.Helper()
	if obj, err := s.Stat(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
		t.Errorf("stat: %+v, %v; want ErrNotFound", obj, err)
	}
	if r, err := s.Open(t.Context(), loc); !errors.Is(err, upload.ErrNotFound) {
		t.Errorf("open: %v; want ErrNotFound", err)
		if err == nil {
			r.Close()
		}
	}
}

// checkTidy fails the test if the backend has leftovers.
func (b Backend) checkTidy(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		names, err := b.Leftovers()
		if err == nil && len(names) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Errorf("left behind: %q, %v", names, err)
			return
		}
	}
}
