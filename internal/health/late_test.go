package health_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/health"
	"tecken-upload/internal/upload"
)

// What may be opened later is retried until it is; another fault is the start's.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed, opened []string
		late := health.Late{
			Failed: func(setting string, _ error) { failed = append(failed, setting) },
			Opened: func(setting string) { opened = append(opened, setting) },
		}
		wrong := errors.New("not a directory")
		if err := late.Open(t.Context(), "WRONG", func(context.Context) error { return wrong }); !errors.Is(err, wrong) {
			t.Errorf("a fault that does not end: %v", err)
		}
		tries := 0
		err := late.Open(t.Context(), "SPOOL", func(context.Context) error {
			if tries++; tries < 3 {
				return &fs.PathError{Op: "open", Path: "spool", Err: syscall.EACCES}
			}
			return nil
		})
		if err != nil || !slices.Equal(late.Left(), []string{"SPOOL"}) || !slices.Equal(failed, []string{"SPOOL"}) {
			t.Errorf("%v, left %q, failed %q", err, late.Left(), failed)
		}
		start := time.Now()
		if err := late.Retry(t.Context()); err != nil || time.Since(start) != 2*health.LateInterval {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if len(late.Left()) != 0 || !slices.Equal(opened, []string{"SPOOL"}) {
			t.Errorf("left %q, opened %q", late.Left(), opened)
		}
	})
}

func TestLateSpool(t *testing.T) {
	var spool health.LateSpool
	_, created := spool.Create(t.Context(), 1)
	_, looked := spool.Usage(t.Context())
	if !errors.Is(created, upload.ErrUnavailable) || !errors.Is(looked, upload.ErrUnavailable) || spool.Contended() || spool.Close() != nil {
		t.Errorf("%v, %v", created, looked)
	}
}
