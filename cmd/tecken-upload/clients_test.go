package main

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

// front is where clients send their uploads, and what became of them.
type front struct {
	testing.TB
	address, token string

	accepted atomic.Int64 // uploads
	mu       sync.Mutex
	attempts []attempt
}

// attempt is one request of a client's for one upload. No two have the same label.
type attempt struct {
	lab.Upload
	lab.Answer
	began time.Time
}

// unanswered reports whether there was no answer of the server's: none, or one of nginx's.
func (a attempt) unanswered() bool { return a.Lost != nil || a.Status == http.StatusBadGateway }

// upload posts an archive as clients in the field do: again, up to 20 times, after an answer of 408, 429, 5xx, or
// none. Only the pauses are shorter. midway is called in the middle of the first attempt, where it is not nil.
func (f *front) upload(p parcel, midway func()) lab.Answer {
	pause := 250 * time.Millisecond
	for i := range 20 {
		a := attempt{Upload: lab.Upload{Label: fmt.Sprintf("%s-%d", p.client, i), Token: f.token, Archive: p.Archive}, began: time.Now()}
		if i == 0 {
			a.Share, a.Midway = 0.5, midway
		}
		a.Answer = lab.Post(f.Context(), f.address, a.Upload)
		f.mu.Lock()
		f.attempts = append(f.attempts, a)
		f.mu.Unlock()
		switch {
		case a.Status == http.StatusCreated:
			f.accepted.Add(1)
			return a.Answer
		case !a.unanswered() && a.Status != http.StatusRequestTimeout && a.Status != http.StatusTooManyRequests && a.Status < 500:
			f.Errorf("%s: answered %v", a.Label, a.Answer)
			return a.Answer
		}
		lab.Pause(f.Context(), pause)
		if f.Context().Err() != nil {
			return a.Answer
		}
		pause = min(2*pause, 4*time.Second)
	}
	f.Errorf("%s: gave up", p.client)
	return lab.Answer{}
}

// parcel is an archive with the name of its client.
type parcel struct {
	client string
	*lab.Archive
}

// parcels makes archives, each with symbols of its own.
func parcels(t testing.TB, name string, n int, seed uint64) []parcel {
	t.Helper()
	list := make([]parcel, n)
	for i := range list {
		list[i] = parcel{fmt.Sprintf("%s%d", name, i), makeArchive(t, testarchive.Spec{Seed: seed + uint64(i), Bytes: 128 << 10, Members: 8})}
	}
	return list
}

// keepPosting uploads one archive after the other until it is enough, each with symbols of its own. It returns how
// many were accepted.
func (f *front) keepPosting(client string, seed uint64, enough <-chan struct{}) (accepted int64) {
	for n := uint64(0); ; n++ {
		select {
		case <-enough:
			return accepted
		default:
		}
		if f.upload(parcels(f, fmt.Sprintf("%s%d.", client, n), 1, seed+n)[0], nil).Status == http.StatusCreated {
			accepted++
		}
	}
}

// hold posts a parcel in the background, and returns when half of it is sent. It stops there until release is called.
func (f *front) hold(posting *sync.WaitGroup, p parcel) (release func()) {
	half, rest := make(chan struct{}), make(chan struct{})
	posting.Go(func() { f.upload(p, func() { close(half); <-rest }) })
	<-half
	return func() { close(rest) }
}
