package upload

import "testing"

func TestAMeterAddsUpToTheArchive(t *testing.T) {
	var told []int64
	m := meter{size: 1001, tell: func(n int64) { told = append(told, n) }}
	m.count(&m.verified, 300) // of nobody knows how many
	m.begin(&m.verified, 1000)
	m.count(&m.verified, 200)
	m.count(&m.verified, 900) // more than was declared
	m.begin(&m.published, 0)  // everything is ignored, or empty
	m.count(&m.published, 0)
	m.complete(&m.verified)
	m.complete(&m.published)
	var sum int64
	for _, n := range told {
		if n <= 0 {
			t.Errorf("told of %d bytes", n)
		}
		sum += n
	}
	if sum != m.size || len(told) != 3 {
		t.Errorf("told %v, which is %d of %d bytes", told, sum, m.size)
	}
}
