package child

import (
	"bytes"
	"sync"

	"tecken-upload/internal/background"
)

const (
	// headSize and tailSize bound the kept standard error. Go's runtime first prints what happened, then where; a program that logs prints
	// what happened last.
	headSize = 2 << 10
	tailSize = 4 << 10
	cut      = "\n[…]\n"
)

// lines passes on its input line by line. Lines above most are dropped.
type lines struct {
	each    func([]byte)
	most    int
	part    []byte // of an unfinished line
	tooLong bool   // drop the line up to its end
}

// Write never fails.
func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		head, rest, whole := bytes.Cut(p, []byte{'\n'})
		p = rest
		if l.tooLong = l.tooLong || len(l.part)+len(head) > l.most; l.tooLong {
			l.part = nil
		} else {
			l.part = append(l.part, head...)
		}
		if !whole {
			break
		}
		if !l.tooLong && l.each != nil {
			background.Guard("sweep output", func() { l.each(l.part) })
		}
		l.part, l.tooLong = l.part[:0], false
	}
	return n, nil
}

// ends keeps the beginning and the end of its input. It may be read meanwhile.
type ends struct {
	mu         sync.Mutex
	head, tail []byte
	lost       bool // bytes between the two were dropped
}

// Write never fails.
func (e *ends) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(p)
	room := min(headSize-len(e.head), len(p))
	e.head = append(e.head, p[:room]...)
	p = p[room:]
	if len(p) > tailSize {
		p, e.lost = p[len(p)-tailSize:], true
	}
	if over := len(e.tail) + len(p) - tailSize; over > 0 {
		e.tail = append(e.tail[:0], e.tail[over:]...)
		e.lost = true
	}
	e.tail = append(e.tail, p...)
	return n, nil
}

// String returns what was kept.
func (e *ends) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	between := ""
	if e.lost {
		between = cut
	}
	return string(e.head) + between + string(e.tail)
}
