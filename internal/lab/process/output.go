package process

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// output keeps what a program prints, in lines.
type output struct {
	mu      sync.Mutex
	lines   []string
	partial []byte
	news    chan struct{} // closed, and replaced, when there is another line
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.partial = append(o.partial, p...)
	for {
		line, rest, whole := bytes.Cut(o.partial, []byte{'\n'})
		if !whole {
			return len(p), nil
		}
		o.lines, o.partial = append(o.lines, string(line)), bytes.Clone(rest)
		close(o.news)
		o.news = make(chan struct{})
	}
}

// from returns the lines there are from the n-th on, and what is closed when there are more.
func (o *output) from(n int) ([]string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.lines[n:]), o.news
}

// Lines returns the whole lines that the program has printed so far.
func (p *Process) Lines() []string {
	lines, _ := p.output.from(0)
	return lines
}

// Tail returns the last lines of them.
func (p *Process) Tail() string {
	lines := p.Lines()
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// An Entry is a line of a program that logs JSON.
type Entry map[string]any

// Text returns the value of a key, "" where there is none.
func (e Entry) Text(key string) string {
	if e[key] == nil {
		return ""
	}
	return fmt.Sprint(e[key])
}

// ParseEntry reads a line. One that is no JSON object is no entry: a panic's trace, or the Go runtime's last words.
func ParseEntry(line string) (e Entry, ok bool) {
	ok = json.Unmarshal([]byte(line), &e) == nil && e != nil
	return e, ok
}

// A Reader reads the entries that a program logs, from its start.
type Reader struct {
	p       *Process
	n       int      // lines read so far
	pending []string // and not yet looked at
}

// Reader returns a reader of the program's entries.
func (p *Process) Reader() *Reader { return &Reader{p: p} }

// Next waits for the next entry that is the one wanted, and passes over all before it. It fails when the program or ctx ends without one;
// what names it in the error.
func (r *Reader) Next(ctx context.Context, what string, wanted func(Entry) bool) (Entry, error) {
	for {
		ended := r.p.Ended() // asked before the lines are read: then there are no more
		lines, more := r.p.output.from(r.n)
		r.n += len(lines)
		r.pending = append(r.pending, lines...)
		for len(r.pending) > 0 {
			line := r.pending[0]
			r.pending = r.pending[1:]
			if e, ok := ParseEntry(line); ok && wanted(e) {
				return e, nil
			}
		}
		if ended {
			return nil, fmt.Errorf("%s ended (%w) before it logged %s\n%s", r.p.Name(), r.p.err, what, r.p.Tail())
		}
		select {
		case <-more:
		case <-r.p.exited:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s did not log %s: %w\n%s", r.p.Name(), what, context.Cause(ctx), r.p.Tail())
		}
	}
}

// Logged waits for the first entry with that message since the program's start, and returns it. It fails when the program or
// ctx ends without one.
func (p *Process) Logged(ctx context.Context, msg string) (Entry, error) {
	return p.Reader().Next(ctx, strconv.Quote(msg), func(e Entry) bool { return e.Text("msg") == msg })
}

// Entries returns the entries with that message that the program has logged so far.
func (p *Process) Entries(msg string) (all []Entry) {
	for _, line := range p.Lines() {
		if e, ok := ParseEntry(line); ok && e.Text("msg") == msg {
			all = append(all, e)
		}
	}
	return all
}
