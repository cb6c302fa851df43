package health

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tecken-upload/internal/sched"
	"tecken-upload/internal/upload"
)

// service is a service that a test breaks and mends, with its proof.
type service struct {
	*testing.T
	*Proof
	at     time.Time
	broken error
	writes int // of the check's own
}

func newService(t *testing.T) *service {
	s := &service{T: t, at: time.Unix(1000, 0)}
	s.Proof = NewProof(3, 5*time.Minute, func(context.Context) error { s.writes++; return s.broken }, func() time.Time { return s.at })
	return s
}

func (s *service) pass(d time.Duration) { s.at = s.at.Add(d) }

// want checks the verdict, and the number of the check's own writes so far.
func (s *service) want(red bool, writes int, when string) {
	s.Helper()
	if err := s.Check(s.Context()); (err != nil) != red || s.writes != writes {
		s.Errorf("%s: %v after %d writes, want red %t after %d", when, err, s.writes, red, writes)
	}
}

var (
	errFull    = fmt.Errorf("put: %w: 507", upload.ErrUnavailable)
	errRefused = fmt.Errorf("put: %w", &upload.RefusedError{Code: "KeyTooLongError", Err: errors.New("400")})
	errReads   = errors.New("read-only")
)

func TestAnIdleServiceIsProven(t *testing.T) {
	s := newService(t)
	s.want(false, 1, "at the start")
	s.want(false, 1, "just proven")
	s.pass(proofInterval - 1)
	s.want(false, 1, "proven a moment ago")
	s.pass(1)
	s.broken = errReads
	s.want(true, 2, "read-only since")
	s.broken = nil
	s.pass(proofInterval - 1)
	s.want(true, 2, "not tried so soon")
	s.pass(1)
	s.want(false, 3, "mended")
}

// While uploads are stored the check writes nothing.
func TestUploadsAreProofEnough(t *testing.T) {
	s := newService(t)
	for range 100 {
		s.Served()
		s.pass(proofInterval / 2)
		s.want(false, 0, "served")
	}
}

func TestUploadsThatKeepFailing(t *testing.T) {
	s := newService(t)
	s.Served()
	s.broken = errReads
	s.Failed(errFull)
	s.Failed(errFull)
	s.want(true, 1, "two failed, and so does the check's own write")
	s.broken = nil
	s.Served()
	s.want(false, 1, "an upload was served")
	for range 3 {
		s.Failed(errFull)
	}
	s.want(true, 1, "three failed in a row")
	s.pass(proofInterval)
	s.want(false, 2, "a write of the check's own succeeded")
	s.Failed(errFull)
	s.Failed(errFull)
	s.want(false, 2, "a new row")
	s.Served()
	s.Failed(errFull)
	s.want(false, 2, "one was served in between")
}

func TestARowEndsWithItsWindow(t *testing.T) {
	s := newService(t)
	s.want(false, 1, "at the start")
	s.Failed(errFull)
	s.Failed(errFull)
	s.pass(5 * time.Minute)
	s.Failed(errFull)
	s.want(false, 2, "the first two are too old")
}

// A client's failures decide nothing, however many.
func TestDoubtIsNoVerdict(t *testing.T) {
	s := newService(t)
	s.want(false, 1, "at the start")
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(upload.ErrClientGone)
	slow, stop := context.WithTimeout(t.Context(), 0)
	defer stop()
	for range 1000 {
		s.judge(gone, fmt.Errorf("%w: hung up", upload.ErrUnavailable), true)
		s.judge(slow, fmt.Errorf("%w: late", upload.ErrUnavailable), true)
		s.judge(t.Context(), errRefused, true)
		s.judge(t.Context(), fmt.Errorf("%w: %w", upload.ErrUnavailable, sched.ErrLeaseExpired), true)
		s.judge(t.Context(), fmt.Errorf("%w: %w", upload.ErrUnavailable, context.DeadlineExceeded), false)
		s.pass(time.Second)
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := 1 + 1000/int(proofInterval/time.Second); s.writes < want-1 || s.writes > want+1 {
		t.Errorf("%d writes of its own in 1,000 s", s.writes)
	}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		wrote   bool
		doubted bool
		failed  bool
	}{
		"stored":              {nil, true, false, false},
		"looked up":           {nil, false, true, false}, // it proves nothing
		"not there":           {upload.ErrNotFound, false, true, false},
		"full":                {errFull, true, true, true},
		"refused":             {errRefused, true, true, false}, // it may be one object alone
		"read failed as well": {errFull, false, true, true},
	} {
		s := newService(t)
		s.Doubt()
		s.judge(t.Context(), c.err, c.wrote)
		if s.doubted != c.doubted || (len(s.row) > 0) != c.failed {
			t.Errorf("%s: doubted %t, failed %t", name, s.doubted, len(s.row) > 0)
		}
	}
}
