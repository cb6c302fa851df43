package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/testarchive"
)

const (
	archiveCount   = 3
	archiveBytes   = 38_000_000
	archiveMembers = 24
	// slowly and quickly are bytes per second of one client.
	slowly  = 4_400_000
	quickly = 25_000_000
	// chunk is how many bytes a client sends at a time.
	chunk = 64 << 10
)

// An archive of symbols, to be posted.
type archive struct {
	path    string
	size    int64
	members int
}

func makeArchives(dir string) ([]archive, error) {
	all := make([]archive, archiveCount)
	var g errgroup.Group
	for i := range all {
		g.Go(func() (err error) {
			all[i], err = makeArchive(filepath.Join(dir, fmt.Sprintf("symbols-%d.zip", i+1)), uint64(i+1))
			return err
		})
	}
	return all, g.Wait()
}

func makeArchive(path string, seed uint64) (a archive, err error) {
	f, err := os.Create(path)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	m, err := testarchive.Write(f, testarchive.Spec{Seed: seed, Bytes: archiveBytes, Members: archiveMembers})
	return archive{path: path, size: m.Bytes, members: len(m.Members)}, err
}

// An answer is what a client gets for its upload.
type answer struct {
	lost       error // why there is none
	status     int
	retryAfter string
	err        string // the server's sentence
	stored     int    // members that were uploaded or skipped
}

// String tells the answer.
func (a answer) String() string {
	switch {
	case a.lost != nil:
		return fmt.Sprintf("nothing (%v)", a.lost)
	case a.err == "":
		return strconv.Itoa(a.status)
	default:
		return fmt.Sprintf("%d, Retry-After: %s, %q", a.status, a.retryAfter, a.err)
	}
}

// post sends an archive as a build machine does, at some bytes per second.
func (s *server) post(ctx context.Context, a archive, rate int64) answer {
	got, err := s.tryPost(ctx, a, rate)
	got.lost = err
	return got
}

func (s *server) tryPost(ctx context.Context, a archive, rate int64) (answer, error) {
	f, err := os.Open(a.path)
	if err != nil {
		return answer{}, err
	}
	defer f.Close()
	var frame bytes.Buffer
	form := multipart.NewWriter(&frame)
	_, err = form.CreateFormFile("symbols.zip", "symbols.zip")
	head := frame.Len()
	if err := errors.Join(err, form.Close()); err != nil {
		return answer{}, err
	}
	paced := &pacedReader{ctx: ctx, from: f, rate: rate, began: time.Now()}
	body := io.MultiReader(bytes.NewReader(frame.Bytes()[:head]), paced, bytes.NewReader(frame.Bytes()[head:]))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/upload/", body)
	if err != nil {
		return answer{}, err
	}
	r.ContentLength = a.size + int64(frame.Len())
	r.Header.Set("Auth-Token", s.token)
	r.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	return read(resp)
}

func read(resp *http.Response) (answer, error) {
	var said struct {
		Error  string
		Upload struct {
			Skipped  []string `json:"skipped_keys"`
			Uploaded []string `json:"uploaded_keys"`
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
		return answer{}, fmt.Errorf("read the answer, status %d: %w", resp.StatusCode, err)
	}
	return answer{
		status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After"), err: said.Error,
		stored: len(said.Upload.Skipped) + len(said.Upload.Uploaded),
	}, nil
}

// A pacedReader reads no faster than its rate, in bytes per second.
type pacedReader struct {
	ctx   context.Context
	from  io.Reader
	rate  int64
	began time.Time
	sent  int64
}

func (p *pacedReader) Read(b []byte) (int, error) {
	due := p.began.Add(time.Duration(p.sent * int64(time.Second) / p.rate))
	if err := wait(p.ctx, time.Until(due)); err != nil {
		return 0, err
	}
	n, err := p.from.Read(b[:min(len(b), chunk)])
	p.sent += int64(n)
	return n, err
}
