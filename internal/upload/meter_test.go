package upload

import (
	"slices"
	"testing"
)

func TestAMeterAddsUpToTheArchive(t *testing.T) {
	var told []int64
	m := meter{size: 1001, report: func(n int64) { told = append(told, n) }}
	m.count(&m.verified, 300, true) // of an unknown number
	m.begin(&m.verified, 1000)
	m.count(&m.verified, 200, true)
	m.count(&m.verified, 900, true) // more than was declared
	m.begin(&m.published, 0)        // everything is ignored, or empty
	m.count(&m.published, 0, true)
	m.complete(&m.verified)
	m.complete(&m.published)
	// Each piece is told of, though it has no bytes; what is left at the end is no piece.
	if want := []int64{0, 250, 251, 0, 500}; !slices.Equal(told, want) {
		t.Errorf("told %v of %d bytes, want %v", told, m.size, want)
	}
}
