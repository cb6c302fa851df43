package telemetry_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/telemetry"
)

// A lasting failure passes once an hour, each kind by itself.
func TestOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports telemetry.Throttle
		due := map[string]int{}
		for range 150 {
			for _, kind := range []string{"spool missing", "not a spool"} {
				if reports.Due(kind) {
					due[kind]++
				}
			}
			<-time.After(time.Minute)
		}
		if diff := cmp.Diff(map[string]int{"spool missing": 3, "not a spool": 3}, due); diff != "" {
			t.Error(diff)
		}
	})
}
