package testenv

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"sync"
	"testing"
)

// A Trouble is what a TroubledS3 does to a request instead of passing it on.
type Trouble string

// The troubles.
const (
	RefuseInternal Trouble = "500"           // answers 500 InternalError, and passes nothing on
	RefuseSlowDown Trouble = "503"           // answers 503 SlowDown, and passes nothing on
	CutRequest     Trouble = "cut request"   // reads half of the body, breaks the connection, and passes nothing on
	CutAnswer      Trouble = "cut answer"    // passes the request on, and breaks the connection instead of answering
	Hang           Trouble = "hanging calls" // answers nothing, and breaks the connection when the trouble is over
)

// A TroubledS3 is an HTTP proxy in front of an S3 server with one trouble at a time.
type TroubledS3 struct {
	Endpoint string // http://127.0.0.1:<port>

	pass *httputil.ReverseProxy

	mu      sync.Mutex // guards the fields below
	trouble Trouble    // "": none
	share   float64    // of the requests
	random  *rand.Rand
	over    chan struct{} // closed when the trouble is over
}

// TroubleS3 starts a proxy in front of the S3 server at endpoint, without trouble yet.
func TroubleS3(t testing.TB, endpoint string) *TroubledS3 {
	t.Helper()
	s := &TroubledS3{pass: passS3(t, endpoint), over: make(chan struct{})}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.End)
	s.Endpoint = server.URL
	return s
}

// Begin gives a share of the requests, chosen by the seed, a trouble, until End or another Begin.
func (s *TroubledS3) Begin(t Trouble, share float64, seed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.over)
	s.trouble, s.share, s.random, s.over = t, share, rand.New(rand.NewPCG(seed, 0)), make(chan struct{})
}

// End ends the trouble.
func (s *TroubledS3) End() { s.Begin("", 0, 0) }

func (s *TroubledS3) draw() (Trouble, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == "" || s.random.Float64() >= s.share {
		return "", nil
	}
	return s.trouble, s.over
}

// ServeHTTP implements http.Handler.
func (s *TroubledS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	trouble, over := s.draw()
	switch trouble {
	case "":
		s.pass.ServeHTTP(w, r)
		return
	case RefuseInternal:
		answerError(w, r, http.StatusInternalServerError, "InternalError", "on purpose")
		return
	case RefuseSlowDown:
		answerError(w, r, http.StatusServiceUnavailable, "SlowDown", "on purpose")
		return
	case CutRequest:
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2) // it may end early
	case CutAnswer:
		s.pass.ServeHTTP(httptest.NewRecorder(), r)
	case Hang:
		_, _ = io.Copy(io.Discard, r.Body) // else the end of the connection would go unseen
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}
	panic(http.ErrAbortHandler) // which breaks the connection
}
