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
	// linePatience bounds a Write's wait for its line: we would rather log a little later than delay an upload.
	linePatience = 100 * time.Millisecond
	// queuedLines bounds the lines that wait for a stopped reader; more are lost. A line is usually 1 KiB, at most 100 KiB.
	queuedLines = 1000
)

// Lines writes lines to a pipe, whatever its reader does, without blocking callers for long. It is safe for concurrent
// use.
//
// Write returns once its line is written, so lines come in order with what their callers do next. If that takes over 100 ms, lines wait in
// a queue and Writes return at once until the reader has caught up. A line that can't be written, or finds the queue full, is lost and
// counted. Each line is tried, so a reader that returns reads on.
type Lines struct {
	w     io.Writer
	queue chan line
	ended chan struct{} // closed by Close
	late  atomic.Bool   // the reader has been late by linePatience, and has not caught up
	lost  atomic.Int64
}

// A line waits to be written.
type line struct {
	text    []byte
	written chan struct{} // closed once written or lost
}

// NewLines makes a Lines. End it with Close.
func NewLines(w io.Writer) *Lines {
	l := &Lines{w: w, queue: make(chan line, queuedLines), ended: make(chan struct{})}
	background.Go("log", l.run)
	return l
}

// SurviveReaders keeps the process alive when the reader of its output goes away, by SIGPIPE for a pipe or SIGHUP for a terminal. Later
// writes fail.
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

// run writes lines in order. It blocks while the reader does not read.
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

// Close waits up to patience until all lines are written. Write nothing afterwards.
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
	m.Counter("tecken_log_lines_lost_total", "Log lines lost: not writable, or above 1,000 waiting for a reader.",
		func() float64 { return float64(l.lost.Load()) })
}
