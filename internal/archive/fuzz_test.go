package archive

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// fuzzLimits are small, so that a bomb is one at a size that a fuzzer comes to.
var fuzzLimits = Limits{MaxMembers: 20, MaxMemberSize: 256 << 10, MaxExtractedSize: 512 << 10, DisallowedSnippets: []string{"qcom"}}

// FuzzOpenVerify lists, verifies and reads again whatever it is given. What is accepted must read back as
// it was verified; what is not must be the archive's own fault. Nothing may panic or hang.
func FuzzOpenVerify(f *testing.F) {
	files := someFiles()
	files[1].content = symText
	for _, format := range formats {
		f.Add(build(f, format, files))
	}
	const small = 16 << 10 // large seeds make a slow fuzzer
	for _, c := range hostileZips() {
		if len(c.data) < small {
			f.Add(c.data)
		}
	}
	for _, c := range ambiguousZips() {
		if len(c.data) < small {
			f.Add(c.data)
		}
	}
	for _, c := range hostileTars() {
		if len(c.data) < small {
			f.Add(c.data)
		}
	}
	f.Add(makeZip([]*entry{deflated("a/A/a.sym", symText)}, withEnd64(nil)))
	f.Add(makeZip([]*entry{emptyBlocks("a/A/a.sym")}, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		tooLong := errors.New("does not end")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, tooLong)
		defer cancel()
		a, ms, err := verify(ctx, data, fuzzLimits)
		var fault *Error
		if err != nil {
			if !errors.As(err, &fault) || fault.Reason == "" {
				t.Fatalf("not the archive's fault: %v", err)
			}
			if strings.Contains(fault.Reason, "goroutine") {
				t.Fatalf("tells of our inside: %s", fault.Reason)
			}
			if p := (*panicError)(nil); errors.As(err, &p) {
				t.Logf("a decoder panicked: %v", p)
			}
			return
		}
		var total int64
		for _, m := range ms {
			total += m.Size
		}
		if len(ms) > fuzzLimits.MaxMembers || total > fuzzLimits.MaxExtractedSize {
			t.Errorf("%d members of %d bytes", len(ms), total)
		}
		contents(t, a)
	})
}
