package audit_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"tecken-upload/internal/audit"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/upload"
)

// house is a directory of symbol files, with faults, to be audited.
type house struct {
	*dirstore.Store
	t   testing.TB
	dir string

	mu      sync.Mutex
	opened  []string                                    // the symbol key of each Open
	opening func(ctx context.Context, key string) error // called before each Open, one at a time; may be nil
	reading func(key string, n int) error               // called at the n-th Open of a key, from 1: the error of its body amid; may be nil
	listing func(yielded int) error                     // called before each entry: the error that ends the listing; may be nil
}

func newHouse(t testing.TB) *house {
	t.Helper()
	dir := t.TempDir()
	store, err := dirstore.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return &house{Store: store, t: t, dir: dir}
}

// List implements audit.Storage.
func (h *house) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		n := 0
		for entry, err := range h.Store.List(ctx, prefix, after) {
			if h.listing != nil && err == nil {
				if err := h.listing(n); err != nil {
					yield(storage.Entry{}, err)
					return
				}
			}
			n++
			if !yield(entry, err) {
				return
			}
		}
	}
}

// Open implements audit.Storage.
func (h *house) Open(ctx context.Context, loc upload.Location) (*storage.Stored, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := loc.Key.String()
	h.opened = append(h.opened, key)
	if h.opening != nil {
		if err := h.opening(ctx, key); err != nil {
			return nil, err
		}
	}
	stored, err := h.Store.Open(ctx, loc)
	if err != nil || h.reading == nil {
		return stored, err
	}
	n := 0
	for _, k := range h.opened {
		if k == key {
			n++
		}
	}
	if fault := h.reading(key, n); fault != nil {
		stored.ReadCloser = &faulty{ReadCloser: stored.ReadCloser, fault: fault}
	}
	return stored, nil
}

// A faulty body fails after its first byte.
type faulty struct {
	io.ReadCloser
	fault error
	begun bool
}

// Read implements io.Reader.
func (f *faulty) Read(p []byte) (int, error) {
	if f.begun {
		return 0, f.fault
	}
	f.begun = true
	return f.ReadCloser.Read(p[:1])
}

// put stores a file as it is, described by obj.
func (h *house) put(key string, data []byte, obj upload.Object) upload.Location {
	h.t.Helper()
	loc := storagetest.Location(h.t, key)
	storagetest.Content{Data: data, Object: obj}.Put(h.t, h.Store, loc)
	return loc
}

// putGood stores a .sym as uploads do.
func (h *house) putGood(key string) upload.Location {
	h.t.Helper()
	return h.put(key, zipped(text), describe(text, true))
}

// putBroken stores a .sym that no decoder reads to its end.
func (h *house) putBroken(key string) upload.Location {
	h.t.Helper()
	return h.put(key, zipped(text)[:30], describe(text, true))
}

// text is the content of a .sym.
var text = []byte("MODULE Linux x86_64 ABCDEF012 app\n" + strings.Repeat("PUBLIC 1000 0 main\n", 100))

func zipped(data []byte) []byte {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, _ = zw.Write(data) // to memory
	_ = zw.Close()
	return packed.Bytes()
}

func describe(data []byte, isGzip bool) upload.Object {
	return upload.Object{Size: int64(len(data)), MD5: md5.Sum(data), Gzip: isGzip}
}

// line is a finding without its reason.
type line struct {
	key  string
	kind audit.Kind
}

// run audits the house. The findings come in the order of keys.
func (h *house) run(ctx context.Context, c audit.Config) (found []audit.Finding, totals audit.Totals, err error) {
	h.t.Helper()
	c.Storage = h
	if c.Parallel == 0 {
		c.Parallel = 3
	}
	if c.Report == nil {
		c.Report = func(f audit.Finding) error {
			found = append(found, f)
			return nil
		}
	}
	pass := audit.New(c)
	err = pass.Run(ctx)
	if !slices.IsSortedFunc(found, func(a, b audit.Finding) int {
		return strings.Compare(storage.ObjectKey(a.Location), storage.ObjectKey(b.Location))
	}) {
		h.t.Errorf("findings out of order: %v", found)
	}
	return found, pass.Totals(), err
}

// lines leaves the reasons out.
func lines(found []audit.Finding) []line {
	list := []line{}
	for _, f := range found {
		list = append(list, line{storage.ObjectKey(f.Location), f.Kind})
	}
	return list
}
