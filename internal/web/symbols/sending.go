package symbols

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"tecken-upload/internal/web/exchange"
)

// MaxDownloads is the default bound of simultaneous downloads.
const MaxDownloads = 256

// DownloadsAtOnce returns how many downloads this process may send at a time.
func DownloadsAtOnce() int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return MaxDownloads
	}
	return downloadsWithin(files.Cur)
}

// downloadsWithin returns how many downloads a process may send that may have so many files open. Each holds a connection, and a file or a
// connection to S3. Most files are left to uploads.
func downloadsWithin(files uint64) int {
	return int(max(1, min(MaxDownloads, files/4)))
}

// What we would rather lose.
const (
	// sendWait bounds the wait of a download for its slot.
	sendWait = 8 * time.Second
	// sendStall bounds one write of a download, at most 32 KiB: a slow reader may go on, a stopped one is cut off.
	sendStall = 60 * time.Second
	// sendPiece is what a reader must take in sendPieceTime while others wait for a slot: a telephone's network can do that.
	sendPiece, sendPieceTime = 256 << 10, 10 * time.Second
	// crowdedWindow is how long that applies after a download waited: a refused client comes again.
	crowdedWindow = 20 * time.Second
	// sendAhead is the number of sent bytes that may wait in the kernel.
	sendAhead = 96 << 10
)

// sending bounds the download bodies being sent: each holds a connection and an open file. An answer without a body takes no
// slot.
type sending struct {
	slots  *semaphore.Weighted
	waited atomic.Int64 // when a download last waited for a slot, in Unix nanoseconds
}

// enter takes a slot, and returns the function that releases it.
func (s *sending) enter(ctx context.Context) (leave func(), err error) {
	if !s.slots.TryAcquire(1) {
		s.waited.Store(time.Now().UnixNano())
		err := s.wait(ctx)
		s.waited.Store(time.Now().UnixNano())
		if err != nil {
			return nil, err
		}
	}
	return func() { s.slots.Release(1) }, nil
}

func (s *sending) wait(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, sendWait)
	defer cancel()
	switch err := s.slots.Acquire(waiting, 1); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return exchange.Busy("This server is sending as many files as it can. Try again later.")
}

// crowded reports whether a download waits for a slot, or did less than crowdedWindow ago.
func (s *sending) crowded() bool { return time.Since(time.Unix(0, s.waited.Load())) < crowdedWindow }

// A sendDeadline sets the deadlines of one download's writes.
type sendDeadline struct {
	crowded func() bool
	set     func(wait time.Duration)
	left    int // bytes of the present piece
}

// extend is called before n bytes are written.
func (d *sendDeadline) extend(n int) {
	switch {
	case !d.crowded():
		d.left = 0
		d.set(sendStall)
	case d.left <= 0:
		d.left = sendPiece - n
		d.set(sendPieceTime)
	default:
		d.left -= n
	}
}

// sendInSteps makes the writes to a request's connection move with its reader. Otherwise the kernel takes some MiB ahead, and then nothing
// until a third of that is gone: up to a minute for a reader that never stopped.
func sendInSteps(ctx context.Context) {
	if raw, ok := exchange.RawConn(ctx); ok {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, sendAhead) // else it would choose its own steps
		})
	}
}
