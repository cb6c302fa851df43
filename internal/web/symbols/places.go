package symbols

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"tecken-upload/internal/background"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// MaxDownloads is how many downloads are sent at a time where nobody says less.
const MaxDownloads = 256

// What we would rather lose.
const (
	// sendWait is how long a download waits for its place: some ticks of those who look for slow readers.
	sendWait = 8 * time.Second
	// sendWindow is over how long a reader's rate is taken, sendRate the slowest that it may read while others wait, in
	// bytes a second: a telephone's network can do that.
	sendWindow = 20 * time.Second
	sendRate   = 32 << 10
	// sendAhead is how many bytes wait in the kernel for what has been sent to arrive: three seconds of that rate.
	sendAhead = 96 << 10
)

// errSlowReader is the end of a reader that others waited for.
var errSlowReader = fmt.Errorf("%w: read too slowly while others wait", upload.ErrBusy)

// sending bounds the downloads whose bodies are being sent: each holds a connection and an open file. What is answered
// without a body takes no place.
type sending struct {
	places  *semaphore.Weighted
	crowded atomic.Int64 // when one last waited for a place, in Unix nanoseconds
}

// enter takes a place, to be left by the function that it returns.
func (s *sending) enter(ctx context.Context) (leave func(), err error) {
	if !s.places.TryAcquire(1) {
		s.crowded.Store(time.Now().UnixNano())
		err := s.wait(ctx)
		s.crowded.Store(time.Now().UnixNano()) // who is refused comes again
		if err != nil {
			return nil, err
		}
	}
	return func() { s.places.Release(1) }, nil
}

func (s *sending) wait(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, sendWait)
	defer cancel()
	switch err := s.places.Acquire(waiting, 1); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return exchange.Busy("This server is sending as many files as it can. Try again later.")
}

// contended reports whether others wait for a place, or did less than a window ago.
func (s *sending) contended() bool {
	return time.Since(time.Unix(0, s.crowded.Load())) < sendWindow
}

// sendInSteps lets the writes to a request's connection move as its reader does. Without it the kernel takes some MiB ahead, and then
// nothing before a third of that is gone: a minute may pass for a reader that never stopped.
func sendInSteps(ctx context.Context) {
	if raw, ok := exchange.RawConn(ctx); ok {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, sendAhead) // in steps of its own otherwise
		})
	}
}

// watch calls cut once a body is in the way: others want its place, and it is read too slowly. sent counts its bytes. After
// stop it calls nothing.
func (s *sending) watch(sent *atomic.Int64, cut func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	background.Go("slow reader watch", func() {
		defer close(ended)
		tick := time.NewTicker(paceStep)
		defer tick.Stop()
		p := pace{min: sendRate, window: sendWindow, contended: s.contended}
		p.tooSlow(time.Now(), 0)
		for {
			select {
			case now := <-tick.C:
				if p.tooSlow(now, int(sent.Swap(0))) {
					cut()
					return
				}
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		<-ended
	}
}

const (
	// paceWindow is over how long the rate of an upload's body is taken: a network's hiccup is no lack of will.
	paceWindow = 60 * time.Second
	// paceStep is how exactly.
	paceStep = 5 * time.Second
)

// pace watches a body's rate over its last window. A body that declares much and sends little holds its
// room only while nobody else needs it.
type pace struct {
	min       int64         // bytes a second; 0: any rate will do
	window    time.Duration // 0: paceWindow
	contended func() bool   // whether others are refused for room

	total int64
	marks []mark // at most one for each paceStep; the first is the latest that is a window old
}

// mark is how many bytes had come at a moment.
type mark struct {
	at    time.Time
	total int64
}

// tooSlow notes that n more bytes have come, and reports whether the body is in the way.
func (p *pace) tooSlow(now time.Time, n int) bool {
	p.total += int64(n)
	if p.min == 0 {
		return false
	}
	if len(p.marks) == 0 || now.Sub(p.marks[len(p.marks)-1].at) >= paceStep {
		p.marks = append(p.marks, mark{now, p.total})
	}
	window := cmp.Or(p.window, paceWindow)
	for len(p.marks) > 1 && now.Sub(p.marks[1].at) >= window {
		p.marks = p.marks[1:]
	}
	elapsed := now.Sub(p.marks[0].at)
	if elapsed < window {
		return false
	}
	rate := float64(p.total-p.marks[0].total) / elapsed.Seconds()
	return rate < float64(p.min) && p.contended()
}
