package upload_test

import (
	"archive/zip"
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"tecken-upload/internal/sched"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// Storage that never answers, and does not heed its context either, costs its upload; the slot is the next one's.
func TestACallThatNeverReturnsIsNotWaitedFor(t *testing.T) {
	h := newHouse(t)
	slots := sched.New(sched.Options{Slots: 1, Lease: testenv.Slack(t, 2*time.Second), Patience: 50 * time.Millisecond})
	c := h.config
	c.PublishSlots = slots
	h.service = upload.NewService(c)
	answer, returned := make(chan struct{}), make(chan struct{})
	h.storage.fault = func(context.Context, int) error {
		defer close(returned)
		<-answer
		return errors.New("too late")
	}
	r := h.post(t.Context(), regular, source{content: zipOf(t, map[string]string{"a/AA/a.sym": sym}, zip.Store)})
	if r.Upload.Outcome != upload.Failed || !errors.Is(r.Err, upload.ErrUnavailable) || !errors.Is(r.Err, sched.ErrLeaseExpired) {
		t.Errorf("outcome %q: %v", r.Upload.Outcome, r.Err)
	}
	if s := slots.Stats(); s.Busy != 0 || s.Waiting != 0 || s.Runaways != 1 {
		t.Errorf("slots while the call hangs: %+v", s)
	}
	h.storage.mu.Lock()
	h.storage.fault = nil
	h.storage.mu.Unlock()
	h.complete(upload.Token{ID: 8, User: "dev@example.com", Permissions: regular.Permissions},
		source{content: zipOf(t, map[string]string{"b/BB/b.sym": sym}, zip.Deflate)})
	close(answer)
	<-returned
	for slots.Stats().Runaways != 0 {
		runtime.Gosched()
	}
}
