package s3store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// stage stages c at loc, or fails the test.
func stage(t *testing.T, s *Store, loc upload.Location, c storagetest.Content) upload.Staged {
	t.Helper()
	body, done := c.BodyAt(t)
	defer done()
	staged, err := s.Stage(t.Context(), loc, c.Object, body, unnoted)
	if err != nil {
		t.Fatalf("stage: %v", err)
	}
	return staged
}

// loseAnswers starts a proxy that breaks the connection instead of answering the first so many completions of multipart uploads. before is
// called before each completion, with its number.
func loseAnswers(t *testing.T, server testenv.S3Server, losses int, before func(n int)) string {
	t.Helper()
	trouble := testenv.TroubleS3(t, server.Endpoint)
	n := 0
	return testenv.HoldS3(t, trouble.Endpoint, func(r *http.Request) bool {
		if r.Method != http.MethodPost || !r.URL.Query().Has("uploadId") {
			trouble.End()
			return false
		}
		n++
		before(n)
		if n <= losses {
			trouble.Begin(testenv.CutAnswer, 1, 0)
		} else {
			trouble.End()
		}
		return false
	})
}

// A commit whose answer was lost is recognised by the object.
func TestTheAnswerOfACommitIsLost(t *testing.T) {
	loc, c := storagetest.Location(t, "a.pdb/1/a.sym"), storagetest.Random(1, large)
	c.Object.Gzip = true
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			direct := open(t, server, server.Endpoint, Options{})
			s := open(t, server, loseAnswers(t, server, 2, func(int) {}), quick)
			if err := stage(t, s, loc, c).Commit(t.Context()); err != nil {
				t.Errorf("commit: %v", err)
			}
			c.Check(t, direct, loc)
			checkNoParts(t, server)

			other := storagetest.Random(2, small)
			s = open(t, server, loseAnswers(t, server, 1, func(n int) {
				if n == 2 {
					other.Put(t, direct, loc)
				}
			}), quick)
			// It was committed. versitygw still knows that; MinIO does not.
			if err := stage(t, s, loc, c).Commit(t.Context()); err != nil && !errors.Is(err, upload.ErrUnavailable) {
				t.Errorf("commit what was replaced at once: %v; want ErrUnavailable, or none", err)
			}
			other.Check(t, direct, loc)

			s = open(t, server, loseAnswers(t, server, maxAttempts, func(int) {}), quick)
			staged := stage(t, s, loc, c)
			if err := staged.Commit(t.Context()); !errors.Is(err, upload.ErrUnavailable) {
				t.Errorf("commit without any answer: %v; want ErrUnavailable", err)
			}
			if err := staged.Abort(t.Context()); err != nil {
				t.Errorf("abort: %v", err)
			}
			c.Check(t, direct, loc)
			checkNoParts(t, server)
		})
	}
}

func TestJoinCRC(t *testing.T) {
	c := storagetest.Random(1, 100_000)
	whole := crc32.ChecksumIEEE(c.Data)
	for _, first := range []int{0, 1, 2, 3, 255, 256, 65_537, 99_999, 100_000} {
		a, b := crc32.ChecksumIEEE(c.Data[:first]), crc32.ChecksumIEEE(c.Data[first:])
		if got := joinCRC(a, b, int64(100_000-first)); got != whole {
			t.Errorf("%d bytes and the rest: %08x; want %08x", first, got, whole)
		}
	}
}

// A part that was sent whole is waited for before the upload is aborted: else its server would keep it. One that was not is cut.
func TestPartsAreFinishedBeforeAnAbort(t *testing.T) {
	for name, whole := range map[string]bool{"sent": true, "half sent": false} {
		t.Run(name, func(t *testing.T) {
			cause := errors.New("the reason")
			ctx, cancel := context.WithCancelCause(t.Context())
			aborted := make(chan struct{})
			server := multipartServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodDelete {
					close(aborted)
					return
				}
				if !whole {
					_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
					cancel(cause)
					if n, err := io.Copy(io.Discard, r.Body); err == nil {
						t.Errorf("the rest was sent, %d bytes", n)
					}
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				cancel(cause)
				select {
				case <-aborted:
					t.Error("it was aborted before its part was answered")
				case <-time.After(50 * time.Millisecond):
				}
			})
			s := open(t, server, server.Endpoint, Options{partSize: large})
			c := storagetest.Random(1, large)
			body, done := c.Body(t)
			_, err := s.Stage(ctx, storagetest.Location(t, "a.pdb/1/a.pdb"), c.Object, body, unnoted)
			done()
			if !errors.Is(err, cause) {
				t.Errorf("stage: %v; want the context's cause", err)
			}
			<-aborted
		})
	}
}

// A server that never answers a part holds up the abort for a few seconds.
func TestAPartThatIsNotAnswered(t *testing.T) {
	cause := errors.New("the reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	aborted := make(chan struct{})
	server := multipartServer(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			close(aborted)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		cancel(cause)
		<-r.Context().Done()
	})
	s := open(t, server, server.Endpoint, quick)
	c := storagetest.Random(1, small)
	body, done := c.BodyAt(t)
	defer done()
	if _, err := s.Stage(ctx, storagetest.Location(t, "a.pdb/1/a.pdb"), c.Object, body, unnoted); !errors.Is(err, cause) {
		t.Errorf("stage: %v; want the context's cause", err)
	}
	<-aborted
}

// multipartServer starts a server that creates and completes multipart uploads, and gives their other requests to serve.
func multipartServer(t *testing.T, serve http.HandlerFunc) testenv.S3Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost && r.URL.Query().Has("uploads"):
			fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>an-upload</UploadId></InitiateMultipartUploadResult>`)
		case r.Method == http.MethodPost:
			fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"an-etag"</ETag></CompleteMultipartUploadResult>`)
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		default:
			w.Header().Set("ETag", `"part"`)
			serve(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return testenv.S3Server{Endpoint: server.URL, Bucket: "symbols", Region: "us-east-1", Access: "a", Secret: "s"}
}

// All Stages of a Store together send few parts at once, and hold few in memory.
func TestPartsAreBounded(t *testing.T) {
	const least, bodies, parts = 1 << 20, 6, 4
	const most = 8 / partShare
	var sending, sent atomic.Int64
	var read atomic.Int64
	full := make(chan struct{}) // closed once as many parts are sent as may be
	server := multipartServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch n := sending.Add(1); {
		case n > most:
			t.Errorf("%d parts are sent at once; want %d at most", n, most)
		case n == most && sent.Load() == 0:
			close(full)
		}
		<-full
		_, _ = io.Copy(io.Discard, r.Body)
		sent.Add(1)
		sending.Add(-1)
	})
	s := open(t, server, server.Endpoint, Options{Conns: 8, partSize: least})
	var stages sync.WaitGroup
	for i := range bodies {
		stages.Go(func() {
			c := storagetest.Random(uint64(i), parts*least)
			body, done := c.Body(t)
			defer done()
			body.Reader = &counted{body.Reader, func(n int) {
				if held := read.Add(int64(n)) - sent.Load()*least; held > (maxBuffered+most+1)*least {
					t.Errorf("%d bytes are held", held)
				}
			}}
			if _, err := s.Stage(t.Context(), storagetest.Location(t, fmt.Sprintf("a.pdb/%X/a.pdb", i)), c.Object, body, unnoted); err != nil {
				t.Errorf("stage: %v", err)
			}
		})
	}
	stages.Wait()
	if n := sent.Load(); n != bodies*parts {
		t.Errorf("%d parts were sent; want %d", n, bodies*parts)
	}
}

// counted calls count with the bytes of each read.
type counted struct {
	io.ReadSeeker
	count func(n int)
}

// Read implements io.Reader.
func (r *counted) Read(p []byte) (int, error) {
	n, err := r.ReadSeeker.Read(p)
	r.count(n)
	return n, err
}

func TestPartSizes(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct{ body, size, count int64 }{
		{0, 8 * mib, 1}, {1, 8 * mib, 1}, {8 * mib, 8 * mib, 1}, {8*mib + 1, 8 * mib, 2},
		{80_000 * mib, 8 * mib, 10_000}, {80_000*mib + 1, 8*mib + 1, 10_000}, {5 << 40, 549_755_814, 10_000},
	} {
		if size, count := partsOf(c.body, partSize); size != c.size || count != c.count {
			t.Errorf("%d bytes go in %d parts of %d; want %d of %d", c.body, count, size, c.count, c.size)
		}
	}
}

// again calls f when a body is read a third time from its start: once for its sum, once to be sent, and then to be sent again.
type again struct {
	io.ReaderAt
	starts atomic.Int64
	f      func()
}

// ReadAt implements io.ReaderAt.
func (r *again) ReadAt(p []byte, off int64) (int, error) {
	if off == 0 && r.starts.Add(1) == 3 {
		r.f()
	}
	return r.ReaderAt.ReadAt(p, off)
}

// Broken parts are sent again, like whole bodies.
func TestPartsBrokenOnceThenWhole(t *testing.T) {
	for name, fault := range bodyToxics {
		t.Run(name, func(t *testing.T) {
			server := testenv.S3(t)
			proxy := testenv.Toxiproxy(t, server.Addr)
			opts := impatient(t)
			opts.partSize = large // one part: its retry heals the proxy
			s := open(t, server, "http://"+proxy.Addr, opts)
			loc, c := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(2, large)
			body, done := c.BodyAt(t)
			defer done()
			var heal func()
			body.At = &again{ReaderAt: body.At, f: func() { heal() }}
			staged, err := s.Stage(t.Context(), loc, c.Object, body, func(context.Context, string) error {
				heal = sync.OnceFunc(fault.add(proxy))
				return nil
			})
			if err != nil {
				t.Fatalf("stage: %v", err)
			}
			if err := staged.Commit(t.Context()); err != nil {
				t.Fatalf("commit: %v", err)
			}
			c.Check(t, s, loc)
		})
	}
}

// A bucket that refuses parts is named like one that refuses bodies, and is asked once.
func TestPartsThatAreRefused(t *testing.T) {
	for code, want := range map[string]struct {
		status, requests int
		kind             string
	}{
		"AccessDenied":    {http.StatusForbidden, 1, refused},
		"InvalidArgument": {http.StatusBadRequest, 1, refused},
		"SlowDown":        {http.StatusServiceUnavailable, maxAttempts, unavailable},
	} {
		parts := 0
		server := multipartServer(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				parts++
				w.WriteHeader(want.status)
				fmt.Fprintf(w, `<Error><Code>%s</Code></Error>`, code)
			}
		})
		s := open(t, server, server.Endpoint, quick)
		c := storagetest.Random(1, small)
		body, done := c.BodyAt(t)
		_, err := s.Stage(t.Context(), storagetest.Location(t, "a.pdb/1/a.pdb"), c.Object, body, unnoted)
		done()
		if kindOf(err) != want.kind || parts != want.requests {
			t.Errorf("%s: %v is %s after %d requests; want %s after %d", code, err, kindOf(err), parts, want.kind, want.requests)
		}
	}
}
