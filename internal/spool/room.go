package spool

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A room is one file's share of the disk.
type room struct {
	owner    *Workspace
	reserved int64 // bytes promised; guarded by Spool.mu
	gone     bool  // given back for good; guarded by Spool.mu
	// held are the bytes that the file system counts as used, pending those it is being asked for. For free bytes, pending ones count
	// twice, never not at all; for possible bytes the reverse.
	held, pending atomic.Int64
}

// A waiter is a request for room.
type waiter struct {
	room        *room
	least, want int64
	done        chan struct{} // closed once the request is answered
	granted     int64         // the answer, set before done is closed
	err         error         // the answer's error
}

// reserve promises r between least and want more bytes, and returns the number: want if that fits at once, otherwise least. A live
// workspace may wait for it; a new one does not, and gets nothing while live ones wait.
func (s *Spool) reserve(ctx context.Context, r *room, least, want int64) (int64, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	w := &waiter{room: r, least: least, want: want, done: make(chan struct{})}
	s.mu.Lock()
	s.request(w)
	s.mu.Unlock()
	return s.await(ctx, w)
}

// request answers w at once or puts it in line. Called with mu held.
func (s *Spool) request(w *waiter) {
	// Room may have come without an event; those in line have the first claim to it.
	s.grant()
	m, err := s.measure(w.room.owner)
	switch {
	case err != nil:
		w.answer(0, err)
	case w.room.gone:
		w.answer(0, os.ErrClosed)
	case len(s.growing) == 0 && w.least <= m.free:
		s.give(w, m.free)
	case w.least > m.alone, s.opts.Wait <= 0, !w.room.owner.living:
		w.answer(0, s.refusal(w, m))
	default:
		s.growing = append(s.growing, w)
	}
}

// await waits for the answer to w.
func (s *Spool) await(ctx context.Context, w *waiter) (int64, error) {
	select {
	case <-w.done:
		return w.granted, w.err
	default:
	}
	limit := time.NewTimer(s.opts.Wait)
	defer limit.Stop()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		select {
		case <-w.done:
			return w.granted, w.err
		case <-poll.C:
			s.mu.Lock()
			s.grant()
			s.mu.Unlock()
		case <-limit.C:
			return s.leave(w, nil)
		case <-ctx.Done():
			return s.leave(w, context.Cause(ctx))
		}
	}
}

// leave takes w out of the line: because of cause, or because it has waited long enough.
func (s *Spool) leave(w *waiter, cause error) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.grant()
	select {
	case <-w.done:
		if cause == nil || w.err != nil {
			return w.granted, w.err
		}
		if _, live := s.rooms[w.room]; live { // else the room was given back meanwhile, with what it was granted
			if s.resize(w.room, w.room.reserved-w.granted); w.room.reserved == 0 {
				delete(s.rooms, w.room)
			}
		}
		return 0, cause
	default:
	}
	s.growing = slices.DeleteFunc(s.growing, func(other *waiter) bool { return other == w })
	if cause != nil {
		return 0, cause
	}
	m, err := s.measure(w.room.owner)
	if err != nil {
		return 0, err
	}
	return 0, s.refusal(w, m)
}

// refusal is the error for w. Called with mu held.
func (s *Spool) refusal(w *waiter, m measures) error {
	if err := m.impossible(w.least); err != nil {
		return err
	}
	w.room.owner.refused.Store(true)
	return &FullError{Need: w.least, Free: m.free, Busy: true}
}

// Contended reports whether live workspaces wait for more room.
func (s *Spool) Contended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.growing) > 0
}

// grant serves those in line, in order, as far as the room goes. Called with mu held.
func (s *Spool) grant() {
	for len(s.growing) > 0 {
		w := s.growing[0]
		m, err := s.measure(w.room.owner)
		switch {
		case err != nil:
			w.answer(0, err)
		case w.room.gone:
			w.answer(0, os.ErrClosed)
		case w.least <= m.free:
			s.give(w, m.free)
		default:
			return
		}
		s.growing = slices.Delete(s.growing, 0, 1)
	}
}

// give grants w. Called with mu held.
func (s *Spool) give(w *waiter, free int64) {
	n := w.least
	if w.want <= free {
		n = max(n, w.want)
	}
	s.resize(w.room, w.room.reserved+n)
	s.rooms[w.room] = struct{}{}
	w.answer(n, nil)
}

func (w *waiter) answer(granted int64, err error) {
	w.granted, w.err = granted, err
	close(w.done)
}

// ownShare: a file system may use up to 1 / ownShare of itself, which uploads can't have even of an empty one.
const ownShare = 16

// measures are the bytes at one moment. For a workspace, free and alone are those beyond what it has.
type measures struct {
	free  int64 // that can be promised now; may be negative
	alone int64 // that could be, with all other workspaces gone
	own   int64 // that the workspace has
	whole int64 // of the empty file system, less the headroom; may be negative
	max   int64 // Options.Max; 0: no bound
}

// impossible returns the error of an upload that would not get so many bytes even alone: a *LimitError if it asks for more than
// Options.Max, or than the file system has with next to nothing else on it; otherwise the disk is full, as is one that is smaller than its
// headroom.
func (m *measures) impossible(need int64) error {
	switch all := m.own + need; {
	case need <= m.alone:
		return nil
	case m.max > 0 && all > m.max:
		return &LimitError{Limit: m.max}
	case m.whole > 0 && all > m.whole:
		return &LimitError{Limit: m.whole}
	case m.whole > 0 && m.own+m.alone >= m.whole-m.whole/ownShare:
		return &LimitError{Limit: m.own + m.alone}
	}
	return &FullError{Need: need, Free: m.free}
}

// limit is the largest size of one upload on the empty file system.
func (m *measures) limit() int64 {
	if m.max > 0 {
		return min(m.max, m.whole)
	}
	return m.whole
}

// statfs describes the file system.
func (s *Spool) statfs() (st unix.Statfs_t, err error) {
	if err := unix.Fstatfs(s.fdnum(), &st); err != nil {
		return st, fmt.Errorf("measure spool %s: %w", s.dir, err)
	}
	return st, nil
}

// measure measures the bytes for owner, or for a new workspace if owner is nil. Called with mu held.
func (s *Spool) measure(owner *Workspace) (measures, error) {
	held, reserved := s.sums()
	st, err := s.statfs()
	if err != nil {
		return measures{}, err
	}
	m := measures{max: s.opts.Max, whole: s.usable(&st)}
	available := int64(st.Bavail)*st.Frsize - s.opts.Headroom
	m.free, m.alone = available-(reserved-held), available
	for r := range s.rooms {
		m.alone += r.pending.Load() + r.held.Load()
		if r.owner == owner {
			m.own += r.reserved
		}
	}
	m.alone -= m.own
	if m.max > 0 {
		m.free, m.alone = min(m.free, m.max-reserved), min(m.alone, m.max-m.own)
	}
	return m, nil
}

// usable is what an empty file system would have for uploads, in bytes, without the superuser's reserve.
func (s *Spool) usable(st *unix.Statfs_t) int64 {
	return int64(st.Blocks-(st.Bfree-st.Bavail))*st.Frsize - s.opts.Headroom
}

// sums adds up what live workspaces hold, and what they were promised. Called with mu held.
func (s *Spool) sums() (held, reserved int64) {
	for r := range s.rooms {
		reserved += r.reserved
		held += min(r.held.Load(), r.reserved)
	}
	return held, reserved
}

// shrink makes r smaller, after its file.
func (s *Spool) shrink(r *room, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resize(r, min(r.reserved, to))
	r.held.Store(r.reserved)
	r.pending.Store(0)
	s.grant()
}

// resize changes what r has reserved. Called with mu held.
func (s *Spool) resize(r *room, to int64) {
	r.owner.reserved.Add(to - r.reserved)
	r.reserved = to
}

// release gives r back, after its file is gone.
func (s *Spool) release(r *room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.gone = true
	s.resize(r, 0)
	delete(s.rooms, r)
	s.grant()
}
