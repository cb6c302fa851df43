package testenv_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/testenv"
)

const content = "whole"

// asked is a body that tells when it is first read: the server has asked for it then.
type asked struct {
	io.Reader
	once  sync.Once
	first chan struct{}
}

// Read implements io.Reader.
func (a *asked) Read(p []byte) (int, error) {
	a.once.Do(func() { close(a.first) })
	return a.Reader.Read(p)
}

func TestTroubleS3(t *testing.T) {
	var passed atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && string(body) == content {
			passed.Add(1)
		}
		_, _ = io.WriteString(w, "stored")
	}))
	t.Cleanup(upstream.Close)
	s := testenv.TroubleS3(t, upstream.URL)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}}
	put := func(body io.Reader) (status int, text string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.Endpoint+"/symbols/key", body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = int64(len(content))
		r.Header.Set("Expect", "100-continue")
		resp, err := client.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		said, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, string(said)
	}
	for _, c := range []struct {
		trouble testenv.Trouble
		share   float64
		status  int
		text    string
		passed  int64
	}{
		{"", 1, 200, "stored", 1},
		{testenv.RefuseInternal, 1, 500, "InternalError", 0},
		{testenv.RefuseSlowDown, 1, 503, "SlowDown", 0},
		{testenv.CutRequest, 1, 0, "EOF", 0},
		{testenv.CutAnswer, 1, 0, "EOF", 1},
		{testenv.CutAnswer, 0, 200, "stored", 1},
	} {
		passed.Store(0)
		s.Begin(c.trouble, c.share, 1)
		if status, text := put(strings.NewReader(content)); status != c.status || !strings.Contains(text, c.text) || passed.Load() != c.passed {
			t.Errorf("%q: %d %s, %d passed", c.trouble, status, text, passed.Load())
		}
	}
	passed.Store(0)
	s.Begin(testenv.Hang, 1, 1)
	asked, hung := &asked{Reader: strings.NewReader(content), first: make(chan struct{})}, make(chan int, 1)
	go func() { status, _ := put(asked); hung <- status }()
	<-asked.first
	s.End()
	if status := <-hung; status != 0 || passed.Load() != 0 {
		t.Errorf("a call that hung is answered %d, %d passed", status, passed.Load())
	}
	if status, _ := put(strings.NewReader(content)); status != 200 {
		t.Errorf("then %d", status)
	}
}
