package telemetry

import (
	"bytes"
	"io"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"tecken-upload/internal/background"
)

const (
	// linePatience is how long a Write waits for its line to be written: rather log a little later than hold up an upload.
	linePatience = 100 * time.Millisecond
	// queuedLines is how many lines wait for a reader that has stopped reading; more are lost. A line is 1 KiB as a rule, 100 KiB at most.
	queuedLines = 1000
)

// Lines writes lines to a writer whose reader may go away or stop reading, without blocking its callers for long. It is safe for
// concurrent use.
//
// Write returns once its line is written: what happens after it is read after it. Where that takes longer than 100 ms, lines
// wait in a queue instead, and no Write waits, until the reader has read them all. A line that can't be written, or finds
// the queue full, is lost and counted. Each line is tried: when there is a reader again, it reads on.
type Lines struct {
	w     io.Writer
	queue chan line
	ended chan struct{} // closed by Close
	late  atomic.Bool   // the reader has not read for linePatience, and not yet all that waits
	lost  atomic.Int64
}

// A line waits to be written.
type line struct {
	text    []byte
	written chan struct{} // closed once it is written, or lost
}

// NewLines makes a Lines, to be ended by Close.
func NewLines(w io.Writer) *Lines {
	l := &Lines{w: w, queue: make(chan line, queuedLines), ended: make(chan struct{})}
	background.Go("log", l.run)
	return l
}

// SurviveReaders keeps the process from ending with the reader of its output: by SIGPIPE, where that was a pipe, or by SIGHUP, where it
// was a terminal. What is written then fails.
func SurviveReaders() { signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP) }

// Write takes a line. It never fails.
func (l *Lines) Write(p []byte) (int, error) {
	next := line{text: bytes.Clone(p), written: make(chan struct{})}
	select {
	case l.queue <- next:
		l.await(next)
	default:
		l.lost.Add(1)
	}
	return len(p), nil
}

// await waits until a line is written, unless the reader is late.
func (l *Lines) await(next line) {
	if l.late.Load() {
		return
	}
	patience := time.NewTimer(linePatience)
	defer patience.Stop()
	select {
	case <-next.written:
	case <-l.ended:
	case <-patience.C:
		l.late.Store(true)
	}
}

// run writes lines, one after the other. It hangs for as long as the reader does not read.
func (l *Lines) run() {
	for {
		select {
		case next := <-l.queue:
			if _, err := l.w.Write(next.text); err != nil {
				l.lost.Add(1)
			}
			if len(l.queue) == 0 {
				l.late.Store(false)
			}
			close(next.written)
		case <-l.ended:
			return
		}
	}
}

// Close waits until all lines are written, for at most so long. Nothing is to be written afterwards.
func (l *Lines) Close(patience time.Duration) {
	defer close(l.ended)
	limit := time.NewTimer(patience)
	defer limit.Stop()
	last := line{written: make(chan struct{})}
	select {
	case l.queue <- last:
	case <-limit.C:
		return
	}
	select {
	case <-last.written:
	case <-limit.C:
	}
}

// CountLost registers the metric of lost lines.
func (m *Metrics) CountLost(l *Lines) {
	m.Counter("tecken_log_lines_lost_total", "Log lines that could not be written, or found 1,000 others waiting for a reader that does not read.",
		func() float64 { return float64(l.lost.Load()) })
}
