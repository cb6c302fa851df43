package upload_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/upload"
)

// unrecorded runs so many uploads while the database is away. lost gets what is lost of them, and why.
func unrecorded(t *testing.T, uploads int) (h *house, lost *[]string) {
	t.Helper()
	h = newHouse(t)
	h.records.failing = true
	h.records.finish = func(*upload.Upload) error { return fmt.Errorf("%w: refused", upload.ErrUnavailable) }
	content := map[string]string{"a/AA/a.sym": sym}
	for range uploads {
		h.post(t.Context(), regular, source{content: zipOf(t, content, zip.Deflate)})
	}
	return h, &h.ends.lost
}

// recorded returns the uploads with recorded ends, in order.
func (h *house) recorded() (ids []int64) {
	h.records.mu.Lock()
	defer h.records.mu.Unlock()
	for id := range h.records.ended {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// An end that can't be recorded does not hold up those behind it, whatever its fault is, and is not lost quietly.
func TestAnEndHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, lost := unrecorded(t, 6)
		begin := time.Now()
		h.records.finish = func(u *upload.Upload) error {
			switch u.ID {
			case 1:
				return fmt.Errorf("finish: %w", upload.ErrNotFound)
			case 2:
				return errors.New("value out of range")
			case 3:
				panic("boom")
			case 4:
				if time.Since(begin) < time.Minute {
					return fmt.Errorf("%w: lock timeout", upload.ErrUnavailable)
				}
			}
			h.records.ended[u.ID] = *u
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.service.Settle(ctx) }()
		<-time.After(20 * time.Second)
		if got, want := h.recorded(), []int64{5, 6}; !slices.Equal(got, want) {
			t.Errorf("soon %d are recorded, not %d", got, want)
		}
		<-time.After(10 * time.Minute)
		if got, want := h.recorded(), []int64{4, 5, 6}; !slices.Equal(got, want) {
			t.Errorf("at last %d are recorded, not %d", got, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if want := []string{"1 gone", "2 refused", "3 refused"}; !slices.Equal(*lost, want) {
			t.Errorf("lost %q, want %q", *lost, want)
		}
	})
}

func TestAnEndWhoseRecordIsGoneIsLostAtOnce(t *testing.T) {
	h, lost := unrecorded(t, 0)
	h.records.finish = func(*upload.Upload) error { return fmt.Errorf("finish: %w", upload.ErrNotFound) }
	h.post(t.Context(), regular, source{content: zipOf(t, map[string]string{"a/AA/a.sym": sym}, zip.Deflate)})
	if want := []string{"1 gone"}; !slices.Equal(*lost, want) {
		t.Errorf("lost %q, want %q", *lost, want)
	}
}

// What finds no room is lost, and no other.
func TestEndsAreKeptWithinBounds(t *testing.T) {
	const most = 256
	h, lost := unrecorded(t, most+2)
	if want := []string{"257 memory", "258 memory"}; !slices.Equal(*lost, want) {
		t.Errorf("lost %q, want %q", *lost, want)
	}
	h.records.finish = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.service.Settle(ctx); err != nil {
		t.Error(err)
	}
	if n := len(h.recorded()); n != most || len(*lost) != 2 {
		t.Errorf("%d ends are recorded, %d lost", n, len(*lost))
	}
}

// A server that stops tries each end once more.
func TestEndsThatTheServerLeavesAreLost(t *testing.T) {
	h, lost := unrecorded(t, 4)
	h.records.finish = func(u *upload.Upload) error {
		switch u.ID {
		case 2:
			h.records.ended[u.ID] = *u
			return nil
		case 4:
			return fmt.Errorf("finish: %w", upload.ErrNotFound)
		}
		return fmt.Errorf("%w: refused", upload.ErrUnavailable)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.service.Settle(ctx); err != nil {
		t.Error(err)
	}
	if got := h.recorded(); !slices.Equal(got, []int64{2}) {
		t.Errorf("recorded %d", got)
	}
	// One that did not end before that is not waited for.
	h.post(t.Context(), regular, source{content: zipOf(t, map[string]string{"a/AA/a.sym": sym}, zip.Deflate)})
	if want := []string{"1 time", "3 time", "4 gone", "5 time"}; !slices.Equal(*lost, want) {
		t.Errorf("lost %q, want %q", *lost, want)
	}
}
