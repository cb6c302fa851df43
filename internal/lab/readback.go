package lab

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"tecken-upload/internal/audit"
	"tecken-upload/internal/background"
	"tecken-upload/internal/inflate"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/storage/s3store"
	"tecken-upload/internal/upload"
)

// readers is how many objects are read at once.
const readers = 4

// An Attempt is one upload and what became of it. Attempts that hold different content under the same names must follow each other.
type Attempt struct {
	Upload
	Answer
	Begun, Over int // the server's life when it began and when it was over
}

// A Verdict is what a read-back found.
type Verdict struct {
	Accepted int // uploads that were answered with a 201
	Unheard  int // uploads that are recorded as completed, though their clients have no 201
	Objects  int // read back
	Bytes    int64
	Bare     int // of them without metadata
	Wrong    []error
}

func (v *Verdict) wrong(format string, args ...any) {
	v.Wrong = append(v.Wrong, fmt.Errorf(format, args...))
}

// A content is what may be stored under a name.
type content struct {
	size int64
	md5  string
}

// ReadBack compares records, storage and spool with what clients were told, in the order in which they were told. The programs must
// not run any more, and what is behind them must be well.
//
// Each 201 has one record, as completed, and no attempt has two. Each name of an upload that is recorded as completed is in
// storage, with the content of the last upload with a 201, or that of one whose end its client does not know. Each object decodes
// to the size and the MD5 in its metadata, and was sent by somebody in an archive that is not broken; one that was being replaced may
// lack metadata in directory storage, which stores it again with the next upload. The spool is empty after a sweep.
func (s *Site) ReadBack(ctx context.Context, attempts []Attempt) (v Verdict, err error) {
	completed, err := s.checkRecords(ctx, &v, attempts)
	if err != nil {
		return v, err
	}
	if err := s.checkStorage(ctx, &v, expect(attempts, completed)); err != nil {
		return v, err
	}
	return v, s.checkSpool(&v)
}

// An expectation is what must or may be stored under a name.
type expectation struct {
	must    bool
	doubted bool // an upload whose end its client does not know may have begun to replace it
	may     []content
}

// expect returns what is expected of each object key.
func expect(attempts []Attempt, completed map[string]bool) map[string]*expectation {
	all := make(map[string]*expectation)
	type doubt struct {
		content
		over int
	}
	doubts, told := make(map[string][]doubt), make(map[string][]content)
	for _, a := range attempts {
		if a.Archive.Broken {
			continue
		}
		for _, m := range a.Archive.Members {
			key, c := storage.RegularPrefix+m.Name, content{m.Size, m.MD5}
			if all[key] == nil {
				all[key] = &expectation{}
			}
			all[key].must = all[key].must || completed[a.Label]
			if a.Status != 201 {
				doubts[key] = append(doubts[key], doubt{c, a.Over})
				continue
			}
			// What an earlier life of the server had begun has ended with it.
			rest := doubts[key][:0]
			for _, d := range doubts[key] {
				if d.over >= a.Begun {
					rest = append(rest, d)
				}
			}
			doubts[key], told[key] = rest, []content{c}
		}
	}
	for key, e := range all {
		e.may, e.doubted = told[key], len(doubts[key]) > 0
		for _, d := range doubts[key] {
			e.may = append(e.may, d.content)
		}
	}
	return all
}

func (s *Site) checkStorage(ctx context.Context, v *Verdict, expected map[string]*expectation) error {
	store, err := s.store(ctx)
	if err != nil {
		return err
	}
	stored, err := describe(ctx, store)
	if err != nil {
		return err
	}
	for key, e := range expected {
		if _, ok := stored[key]; e.must && !ok {
			v.wrong("storage has no %s, of a completed upload", key)
		}
	}
	for key, obj := range stored {
		e := expected[key]
		switch {
		case e == nil:
			v.wrong("storage has %s, of no archive that was good", key)
		case obj.Size < 0 && !e.doubted:
			v.wrong("%s has no metadata, and nobody was replacing it", key)
		case obj.Size < 0:
			v.Bare++
			if err := e.checkBare(ctx, store, key); err != nil {
				v.Wrong = append(v.Wrong, err)
			}
		case !e.allows(content{obj.Size, hex.EncodeToString(obj.MD5[:])}):
			v.wrong("%s has %d bytes of MD5 %x; it may have %v", key, obj.Size, obj.MD5, e.may)
		}
	}
	return s.audit(ctx, store, v)
}

func (e *expectation) allows(c content) bool { return slices.Contains(e.may, c) }

// checkBare compares an object without metadata with what was sent.
func (e *expectation) checkBare(ctx context.Context, store audit.Storage, key string) error {
	loc, _ := storage.ParseObjectKey(key)
	stored, err := store.Open(ctx, loc)
	if err != nil {
		return err
	}
	defer stored.Close()
	raw, err := io.ReadAll(stored)
	if err != nil {
		return err
	}
	readers := []io.Reader{bytes.NewReader(raw)}
	if inflated, err := inflate.NewGzip(bytes.NewReader(raw)); err == nil {
		readers = append(readers, inflated)
	}
	for _, r := range readers {
		sum := md5.New()
		if n, err := io.Copy(sum, r); err == nil && e.allows(content{n, hex.EncodeToString(sum.Sum(nil))}) {
			return nil
		}
	}
	return fmt.Errorf("%s has no metadata, and its %d bytes are no content that was sent", key, len(raw))
}

// store opens storage itself, past the proxy.
func (s *Site) store(ctx context.Context) (audit.Storage, error) {
	if s.Storage == Directory {
		return dirstore.Open(ctx, s.symbolsDir())
	}
	place, err := storage.ParseURL(s.s3.URL())
	if err != nil {
		return nil, err
	}
	return s3store.Open(ctx, place, s3store.Options{Conns: readers + 2})
}

// describe returns the metadata of every object.
func describe(ctx context.Context, store audit.Storage) (map[string]upload.Object, error) {
	var mu sync.Mutex
	all := make(map[string]upload.Object)
	g, ctx := background.NewGroup(ctx)
	g.SetLimit(readers)
	for _, prefix := range []string{storage.RegularPrefix, storage.TryPrefix} {
		for entry, err := range store.List(ctx, prefix, "") {
			if err != nil {
				return nil, errors.Join(err, g.Wait())
			}
			g.Go(func() error {
				object, err := store.Open(ctx, entry.Location)
				if err != nil {
					return err
				}
				mu.Lock()
				all[storage.ObjectKey(entry.Location)] = object.Object
				mu.Unlock()
				return object.Close()
			})
		}
	}
	return all, g.Wait()
}

// audit reads every object, and compares it with its metadata.
func (s *Site) audit(ctx context.Context, store audit.Storage, v *Verdict) error {
	pass := audit.New(audit.Config{Storage: store, Parallel: readers, Report: func(f audit.Finding) error {
		if f.Kind != audit.Unverifiable {
			v.wrong("%s is %s: %s", storage.ObjectKey(f.Location), f.Kind, f.Reason)
		}
		return nil
	}})
	err := pass.Run(ctx)
	totals := pass.Totals()
	v.Objects, v.Bytes = totals.Files+totals.Unverifiable, totals.Bytes
	return err
}

// checkSpool has the disk manager remove from the spool whatever has no owner, and looks at what is left besides the spool's mark.
func (s *Site) checkSpool(v *Verdict) error {
	if _, err := run(s.command("disk-manager", "sweep")); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.spoolDir())
	for _, e := range entries {
		if e.Name() != ".tecken-spool" {
			v.wrong("the spool has %s after a sweep", e.Name())
		}
	}
	return err
}
