package upload_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/upload"
)

// gated delivers once open is closed. accepts has it say before that the client's part is done.
type gated struct {
	source
	accepts bool
	open    chan struct{}
}

func (g gated) Deliver(ctx context.Context, in *upload.Arrival) (upload.Delivery, error) {
	if g.accepts {
		in.Accepted(upload.Delivery{Filename: "early.zip", Try: true})
	}
	select {
	case <-g.open:
	case <-ctx.Done():
		return upload.Delivery{}, context.Cause(ctx)
	}
	return g.source.Deliver(ctx, in)
}

// start runs an upload in the background.
func (h *house) start(ctx context.Context, src upload.Deliverer, accepted func(upload.Upload)) <-chan *upload.Report {
	h.Helper()
	ws, err := h.spool.Create(h.Context(), -1)
	if err != nil {
		h.Fatal(err)
	}
	ended := make(chan *upload.Report, 1)
	go func() {
		ended <- h.service.Run(ctx, upload.Request{
			Token: regular, Declared: -1, Pass: &pass{ws: ws}, Source: upload.Archive(src), Accepted: accepted,
		})
	}()
	return ended
}

func TestAcceptedIsCalledOnceTheClientsPartIsDone(t *testing.T) {
	content := map[string]string{"a/AA/a.sym": sym}
	for _, early := range []bool{false, true} {
		h := newHouse(t)
		open := make(chan struct{})
		calls := make(chan upload.Upload, 2)
		ended := h.start(t.Context(), gated{source{content: zipOf(t, content, zip.Deflate)}, early, open}, func(u upload.Upload) { calls <- u })
		var u upload.Upload
		if early {
			u = <-calls // before the body is there
			close(open)
		} else {
			close(open)
			u = <-calls
		}
		want := upload.PhaseVerify
		if early {
			want = upload.PhaseReceive
		}
		if u.ID == 0 || u.Phase != want || (u.Size > 0 && u.Filename == "symbols.zip") == early || (u.Filename == "early.zip" && u.Try) != early || u.Outcome != "" {
			t.Errorf("early %t: accepted as %+v", early, u)
		}
		if r := <-ended; r.Err != nil || len(calls) != 0 {
			t.Errorf("early %t: %v, called %d times more", early, r.Err, len(calls))
		}
	}
}

func TestProgressIsRecordedWhileAnUploadRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		var (
			mu     sync.Mutex // guards what follows
			seen   []string
			faults []error
			fail   error
		)
		h.records.progress = func(uploads []upload.Upload) error {
			mu.Lock()
			defer mu.Unlock()
			for _, u := range uploads {
				seen = append(seen, fmt.Sprint(u.ID, " ", u.Phase, " ", u.Progress, " ", u.Outcome))
			}
			return fail
		}
		// after lets a time pass, and returns what was recorded in it. From then on recording fails with err.
		after := func(d time.Duration, err error) []string {
			<-time.After(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			recorded := seen
			seen, fail = nil, err
			return recorded
		}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() {
			stopped <- h.service.RecordProgress(ctx, func(err error) {
				mu.Lock()
				defer mu.Unlock()
				faults = append(faults, err)
			})
		}()
		if seen := after(time.Hour+5*time.Second, nil); seen != nil {
			t.Errorf("nothing runs, and recorded is %q", seen)
		}
		open := make(chan struct{})
		putting, put := make(chan struct{}), make(chan struct{})
		h.storage.fault = func(context.Context, int) error {
			close(putting)
			<-put
			return nil
		}
		ended := h.start(t.Context(), gated{source{content: zipOf(t, map[string]string{"a/AA/a.sym": sym}, zip.Deflate)}, true, open}, func(upload.Upload) {})
		if seen, want := after(0, errors.New("the database is away")), []string{"1 receive 0 "}; !slices.Equal(seen, want) {
			t.Errorf("at once recorded is %q, not %q", seen, want)
		}
		n := len(after(30*time.Second, nil)) + len(after(10*time.Second, errors.New("again"))) + len(after(20*time.Second, nil))
		mu.Lock()
		if n != 42 || len(faults) != 2 { // a failure is repeated each second
			t.Errorf("recorded %d times, reported %q", n, faults)
		}
		mu.Unlock()
		close(open)
		<-putting
		if seen, want := after(10*time.Second, nil), []string{"1 publish 0.5 "}; !slices.Equal(seen, want) {
			t.Errorf("in the middle recorded is %q, not %q", seen, want)
		}
		if u, ok := h.service.InFlight(1); !ok || u.Phase != upload.PhasePublish || u.Progress != 0.5 || h.service.Phases()[upload.PhasePublish] != 1 {
			t.Errorf("shown as %+v, phases %v", u, h.service.Phases())
		}
		close(put)
		if r := <-ended; r.Err != nil || r.Upload.Phase != upload.PhaseRecord || r.Upload.Progress != 1 {
			t.Errorf("ended as %+v: %v", r.Upload, r.Err)
		}
		if _, ok := h.service.InFlight(1); ok {
			t.Error("it ended, and is in flight")
		}
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestWaitIsForUploadsThatRun(t *testing.T) {
	h := newHouse(t)
	if err := h.service.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	accepted, open := make(chan struct{}), make(chan struct{})
	ended := h.start(t.Context(), gated{source{content: zipOf(t, map[string]string{"a/AA/a.sym": sym}, zip.Deflate)}, true, open}, func(upload.Upload) { close(accepted) })
	<-accepted
	over := errors.New("the drain time ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	if err := h.service.Wait(ctx); !errors.Is(err, over) {
		t.Errorf("waited for an upload that runs: %v", err)
	}
	close(open)
	if err := h.service.Wait(t.Context()); err != nil || (<-ended).Err != nil {
		t.Error(err)
	}
}

// An upload with an unrecorded end is in flight, shows no end, and counts in no phase.
func TestAnUnrecordedEndIsInFlight(t *testing.T) {
	h, _ := unrecorded(t, 1)
	u, ok := h.service.InFlight(1)
	if !ok || u.Outcome != "" || !u.EndedAt.IsZero() || u.Phase != upload.PhaseRecord {
		t.Errorf("shown as %+v", u)
	}
	if phases := h.service.Phases(); phases[upload.PhaseRecord] != 0 {
		t.Errorf("phases %v", phases)
	}
	h.records.finish = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.service.Settle(ctx); err != nil {
		t.Error(err)
	}
	if _, ok := h.service.InFlight(1); ok {
		t.Error("its end is recorded, and it is in flight")
	}
}
