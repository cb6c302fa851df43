package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
	"tecken-upload/internal/web/records"
)

// manyMembers has one upload, of as many members as it says. They are made as they are asked for.
type manyMembers struct {
	records.UploadRecords
	records.FileRecords
	name            string // of each
	stored, skipped int
	// asked is called for each batch of records, with how many there were before.
	asked func(before int) error

	mu              sync.Mutex // guards what follows
	before, largest int
}

func (m *manyMembers) UploadRecord(_ context.Context, id int64) (catalogue.Upload, error) {
	u := catalogue.Upload{Upload: upload.Upload{ID: id, Outcome: upload.Completed, CreatedAt: time.Unix(1, 0), EndedAt: time.Unix(2, 0)}, UserID: 1}
	u.Uploaded, u.Skipped = m.stored, m.skipped
	return u, nil
}

func (m *manyMembers) Related(context.Context, *catalogue.Upload, int) ([]catalogue.Upload, error) {
	return nil, nil
}

func (m *manyMembers) ListUploads(ctx context.Context, q *catalogue.UploadQuery) (page catalogue.Uploads, err error) {
	for id := range int64(q.Limit) {
		u, _ := m.UploadRecord(ctx, id+1)
		page.Uploads = append(page.Uploads, u)
	}
	return page, nil
}

// ask notes that n records are asked for.
func (m *manyMembers) ask(n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.largest = max(m.largest, n)
	err := m.asked(m.before)
	m.before += n
	return err
}

func (m *manyMembers) StoredFiles(_ context.Context, u *catalogue.Upload, behind int64, limit int) (files []catalogue.File, err error) {
	for i := behind + 1; i < int64(m.stored) && len(files) < limit; i++ {
		files = append(files, catalogue.File{File: upload.File{Name: m.name, State: upload.FileUploaded}, Position: i, Upload: u})
	}
	return files, m.ask(len(files))
}

func (m *manyMembers) PassedFiles(_ context.Context, q *catalogue.PassedQuery) (passed []catalogue.Passed, err error) {
	for _, id := range q.Uploads {
		for i := q.Behind + 1; i < int64(m.skipped) && !q.Ignored && len(passed) < q.Limit; i++ {
			passed = append(passed, catalogue.Passed{UploadID: id, Position: i, Name: m.name})
		}
	}
	return passed, m.ask(len(passed))
}

func many(m *manyMembers) func(*web.Config, *upload.Config) {
	return func(c *web.Config, _ *upload.Config) { c.Records.Uploads, c.Records.Files = m, m }
}

// members reads an answer element by element, and counts those of its arrays.
func members(body io.Reader, seen *atomic.Int64) error {
	decoder := json.NewDecoder(body)
	arrays := 0
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if token == json.Delim('[') {
			for arrays++; decoder.More(); seen.Add(1) {
				if err := decoder.Decode(new(any)); err != nil {
					return err
				}
			}
		}
	}
}

// However many members an upload has, of these records a few thousand are held at once: the next ones are read when the client has nearly
// all of those before.
func TestAnUploadOfManyMembersIsStreamed(t *testing.T) {
	const stored, skipped, slack = 100_000, 50_000, 30_000 // what is on its way lies in buffers of sockets
	var seen atomic.Int64
	m := &manyMembers{name: strings.Repeat("name/", 100), stored: stored, skipped: skipped}
	m.asked = func(before int) error {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range 20_000 {
			if seen.Load() >= int64(before)-slack {
				return nil
			}
			<-tick.C
		}
		return fmt.Errorf("%d records were read, and the client has seen %d", before, seen.Load())
	}
	s := newSite(t, many(m))
	resp := s.open("/api/uploads/upload/1")
	defer resp.Body.Close()
	if err := members(resp.Body, &seen); err != nil {
		t.Fatal(err)
	}
	if n := seen.Load(); n != stored+skipped || m.largest > 5000 || resp.ContentLength != -1 {
		t.Errorf("%d members, read by %d, length %d", n, m.largest, resp.ContentLength)
	}
	if s.watcher.faults != nil {
		t.Errorf("faults: %v", s.watcher.faults)
	}
}

// open asks for a path, for the body as it arrives.
func (s *site) open(path string) *http.Response {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Auth-Token", s.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	return resp
}

// The same goes for a list, however many members all uploads in it have.
func TestAListOfUploadsOfManyMembersIsStreamed(t *testing.T) {
	for _, skipped := range []int{0, 10, 600, 7000} {
		m := &manyMembers{skipped: skipped, asked: func(int) error { return nil }}
		s := newSite(t, many(m))
		a := s.ask(s.token, "/api/uploads/?batch_size=30")
		uploads, _ := a.body["uploads"].([]any)
		for _, u := range uploads {
			if names, _ := object(u)["skipped_keys"].([]any); len(names) != skipped {
				t.Fatalf("%d members that were skipped, want %d", len(names), skipped)
			}
		}
		if len(uploads) != 30 || m.largest > 5000 {
			t.Errorf("%d uploads of %d members, read by %d", len(uploads), skipped, m.largest)
		}
	}
}

// A client that reads slowly is in no other's way.
func TestSlowReadersOfRecordsHoldNoTurn(t *testing.T) {
	var asked atomic.Int64
	m := &manyMembers{name: strings.Repeat("name/", 100), stored: 100_000, asked: func(int) error { asked.Add(1); return nil }}
	s := newSite(t, many(m))
	for range 4 {
		resp := s.open("/api/uploads/upload/1")
		t.Cleanup(func() { _ = resp.Body.Close() })
	}
	if a := s.ask(s.token, "/api/uploads/?batch_size=1"); a.status != http.StatusOK {
		t.Errorf("status %d: %v", a.status, a.body)
	}
	if n := asked.Load(); n == 0 || n >= 400 {
		t.Errorf("records were read %d times", n)
	}
}

// What is cut short never ends as if it were whole, and what has not begun is an error like any other.
func TestAnAnswerThatCanNotBeCompleted(t *testing.T) {
	down := fmt.Errorf("list: %w", upload.ErrUnavailable)
	for _, tc := range []struct {
		name   string
		at     int // the record at which it fails
		err    error
		status int // 0: it breaks off
		faults int
	}{
		{"the database is down", 0, down, 503, 1},
		{"the database goes down", 5000, down, 0, 1},
		{"something breaks", 5000, errors.New("broken"), 0, 1},
		{"the records expire", 5000, upload.ErrNotFound, 0, 0},
		{"they are gone", 0, upload.ErrNotFound, 404, 0},
	} {
		m := &manyMembers{stored: 10_000}
		m.asked = func(before int) error {
			if before >= tc.at {
				return tc.err
			}
			return nil
		}
		s := newSite(t, many(m))
		resp := s.open("/api/uploads/upload/1")
		if tc.status != 0 {
			if a := s.read(resp); a.status != tc.status || a.header.Get("Cache-Control") != "" {
				t.Errorf("%s: status %d, %v", tc.name, a.status, a.header)
			}
		} else if err := members(resp.Body, new(atomic.Int64)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: the answer ends with %v", tc.name, err)
		}
		_ = resp.Body.Close()
		s.waitRequest(fmt.Sprintf("GET /api/uploads/upload/:id %d", max(tc.status, 200*(1-min(1, tc.status)))))
		s.watcher.mu.Lock()
		if len(s.watcher.faults) != tc.faults {
			t.Errorf("%s: faults %v", tc.name, s.watcher.faults)
		}
		s.watcher.mu.Unlock()
	}
}
