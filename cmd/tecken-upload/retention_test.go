package main

import (
	"math"
	"testing"
	"time"

	"tecken-upload/internal/config"
)

// Whatever the time-outs, an upload may last at least as long as they say.
func TestInFlight(t *testing.T) {
	for _, c := range []struct{ receive, upload, want time.Duration }{
		{30 * time.Minute, 5 * time.Minute, 24*time.Hour + 35*time.Minute},
		{math.MaxInt64, time.Minute, math.MaxInt64},
		{time.Minute, math.MaxInt64 - time.Hour, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64},
	} {
		if got := inFlight(&config.Server{ReceiveTimeout: c.receive, UploadTimeout: c.upload}); got != c.want {
			t.Errorf("%v and %v: %v, want %v", c.receive, c.upload, got, c.want)
		}
	}
}
