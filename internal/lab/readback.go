package lab

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"tecken-upload/internal/background"
)

// readers is the number of objects read at once.
const readers = 4

// An Attempt is an upload and its answer. Attempts with different content under the same names must follow each other.
type Attempt struct {
	Upload
	Answer
	Begun, Over int // the server's life when it began and when it ended
}

// A Verdict is the result of a read-back.
type Verdict struct {
	Accepted int   // uploads answered with 201
	Unheard  int   // uploads recorded as completed, without a 201 for their client
	Objects  int   // read back
	Bytes    int64 // of these, inflated
	Bare     int   // of these without metadata
	Wrong    []error
}

func (v *Verdict) wrong(format string, args ...any) {
	v.Wrong = append(v.Wrong, fmt.Errorf(format, args...))
}

// A content is a possible content of a name.
type content struct {
	size int64
	md5  string
}

// ReadBack compares records, storage and spool with the clients' answers, in the order of the answers. The programs must have ended, and
// the backing services must work.
//
// Each 201 has one record, as completed, and no attempt has two. Each name of an upload that is recorded as completed is in storage, with
// the content of the last upload with a 201, or that of one without an answer. Each object decodes to the size and the MD5 in its metadata,
// and was sent in an archive that is not broken. In directory storage an object that was being replaced may lack metadata; the next upload
// stores it again. After a sweep of each nothing is staged in storage, and the spool is empty.
func (s *Site) ReadBack(ctx context.Context, attempts []Attempt) (v Verdict, err error) {
	completed, err := s.checkRecords(ctx, &v, attempts)
	if err != nil {
		return v, err
	}
	if err := s.checkStorage(ctx, &v, expect(attempts, completed)); err != nil {
		return v, err
	}
	s.checkStaged(ctx, &v)
	return v, s.checkSpool(&v)
}

// An expectation is what must or may be stored under a name.
type expectation struct {
	must    bool
	found   bool
	doubted bool // an upload without an answer may have begun to replace it
	may     []content
}

// expect returns the expectation for each object key.
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
			key, c := "v1/"+m.Name, content{m.Size, m.MD5}
			if all[key] == nil {
				all[key] = &expectation{}
			}
			all[key].must = all[key].must || completed[a.Label]
			if a.Status != 201 {
				doubts[key] = append(doubts[key], doubt{c, a.Over})
				continue
			}
			// Work begun in an earlier life of the server ended with it.
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

// checkStorage reads all objects, and compares them with their metadata and the expectations.
func (s *Site) checkStorage(ctx context.Context, v *Verdict, expected map[string]*expectation) error {
	stored := s.objects()
	keys, err := stored.keys(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards v
	g, ctx := background.NewGroup(ctx)
	g.SetLimit(readers)
	for _, key := range keys {
		e := expected[key]
		if e == nil {
			v.wrong("storage has %s, of no archive that was good", key)
			continue
		}
		e.found = true
		g.Go(func() error {
			bare, size, err := e.check(ctx, stored, key)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				v.Wrong = append(v.Wrong, err)
			}
			if bare {
				v.Bare++
			}
			v.Objects++
			v.Bytes += size
			return nil
		})
	}
	for key, e := range expected {
		if e.must && !e.found {
			mu.Lock()
			v.wrong("storage has no %s, of a completed upload", key)
			mu.Unlock()
		}
	}
	return g.Wait()
}

// check reads an object. It returns whether it lacks metadata, and its size.
func (e *expectation) check(ctx context.Context, stored objects, key string) (bare bool, size int64, err error) {
	o, err := stored.open(ctx, key)
	if err != nil {
		return false, 0, err
	}
	defer o.Close()
	bare = o.metadata == nil
	got, err := o.read()
	switch {
	case bare && !e.doubted:
		err = fmt.Errorf("%s has no metadata, and no upload was replacing it", key)
	case bare && (err != nil || !slices.Contains(e.may, got)):
		err = fmt.Errorf("%s has no metadata, and its %d bytes are no content that was sent (%w)", key, got.size, err)
	case err != nil:
		err = fmt.Errorf("%s is broken: %w", key, err)
	case !bare && !o.describes(got):
		err = fmt.Errorf("%s is broken: %d bytes of MD5 %s, its metadata are %v", key, got.size, got.md5, o.metadata)
	case !slices.Contains(e.may, got):
		err = fmt.Errorf("%s has %d bytes of MD5 %s; it may have %v", key, got.size, got.md5, e.may)
	}
	return bare, got.size, err
}

// stagedPatience bounds the wait until a dead server's uploads count as lost, and what they have staged is swept.
const stagedPatience = time.Minute

// checkStaged sweeps storage until nothing is left of what uploads have staged.
func (s *Site) checkStaged(ctx context.Context, v *Verdict) {
	ctx, cancel := context.WithTimeout(ctx, stagedPatience)
	defer cancel()
	left := Await(ctx, func(context.Context) error {
		if _, err := s.Run("tecken-upload", "sweep-storage"); err != nil {
			return err
		}
		files, err := s.Staged()
		if err == nil && len(files) > 0 {
			err = fmt.Errorf("storage keeps %q, of no upload in flight", files)
		}
		return err
	})
	if left != nil {
		v.Wrong = append(v.Wrong, left)
	}
}

// checkSpool sweeps the spool with the disk manager, and checks that only the spool's mark is left.
func (s *Site) checkSpool(v *Verdict) error {
	if _, err := s.Run("disk-manager", "sweep"); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.SpoolDir())
	for _, e := range entries {
		if e.Name() != ".tecken-spool" {
			v.wrong("the spool has %s after a sweep", e.Name())
		}
	}
	return err
}
