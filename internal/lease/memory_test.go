package lease_test

import (
	"testing"
	"time"

	"tecken-upload/internal/lease"
	"tecken-upload/internal/lease/leasetest"
)

func TestMemory(t *testing.T) {
	leasetest.Run(t, func(_ *testing.T, stale time.Duration) leasetest.Table { return lease.NewMemory(stale) })
}
