package main

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/testarchive"
)

// front is where clients send their uploads, and what became of them.
type front struct {
	*testing.T
	url, token string

	accepted atomic.Int64 // uploads
	mu       sync.Mutex
	attempts []attempt
}

// attempt is one request of a client's for one upload.
type attempt struct {
	label string // of its token, and so of its record: no two have the same
	reply
	began  time.Time
	broken error // there was no answer of the server's
}

// upload posts an archive as clients in the field do: again, up to 20 times, after an answer of 408, 429, 5xx, or
// none. Only the pauses are shorter. Of the first attempt the body is what first writes, where that is not nil.
func (f *front) upload(client string, content []byte, first func(io.Writer) error) reply {
	pause := 250 * time.Millisecond
	for i := range 20 {
		write := writing(content)
		if i == 0 && first != nil {
			write = first
		}
		a := attempt{label: fmt.Sprintf("%s-%d", client, i), began: time.Now()}
		as := &daemon{T: f.T, url: f.url, token: f.token + "-" + a.label, hangsUp: true}
		a.reply, a.broken = as.post(f.Context(), write)
		f.mu.Lock()
		f.attempts = append(f.attempts, a)
		f.mu.Unlock()
		switch {
		case a.status == http.StatusCreated:
			f.accepted.Add(1)
			return a.reply
		case a.broken == nil && a.status != http.StatusRequestTimeout && a.status != http.StatusTooManyRequests && a.status < 500:
			f.Errorf("%s: status %d: %s", a.label, a.status, a.err)
			return a.reply
		}
		select {
		case <-time.After(pause):
		case <-f.Context().Done():
			return a.reply
		}
		pause = min(2*pause, 4*time.Second)
	}
	f.Errorf("%s: gave up", client)
	return reply{}
}

// parcel is an archive with the name of whoever posts it.
type parcel struct {
	client   string
	content  []byte
	manifest testarchive.Manifest
}

// parcels makes archives, each with symbols of its own.
func parcels(t *testing.T, name string, n int, seed uint64) []parcel {
	t.Helper()
	list := make([]parcel, n)
	for i := range list {
		list[i].client = fmt.Sprintf("%s%d", name, i)
		list[i].content, list[i].manifest = makeArchive(t, testarchive.Spec{Seed: seed + uint64(i), Bytes: 128 << 10, Members: 8})
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
		p := parcels(f.T, fmt.Sprintf("%s%d.", client, n), 1, seed+n)[0]
		if f.upload(p.client, p.content, nil).status == http.StatusCreated {
			accepted++
		}
	}
}
