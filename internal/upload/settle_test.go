package upload_test

import (
	"archive/zip"
	"context"
	"fmt"
	"testing"

	"tecken-upload/internal/upload"
)

func TestEndsAreSettledWhenTheServerStops(t *testing.T) {
	const uploads = 8
	h := newHouse(t)
	h.records.failing = true
	h.records.finish = func() error { return fmt.Errorf("%w: refused", upload.ErrUnavailable) }
	for range uploads {
		h.post(t.Context(), regular, source{content: zipOf(t, map[string]string{"a/AA/a.sym": sym}, zip.Deflate)})
	}
	h.records.finish = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.service.Settle(ctx); err != nil {
		t.Error(err)
	}
	if n := len(h.records.ended); n != uploads {
		t.Errorf("%d of %d ends were recorded", n, uploads)
	}
}
