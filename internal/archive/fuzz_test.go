package archive

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"io"
	"strings"
	"testing"

	"tecken-upload/internal/testenv"
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
		ctx, cancel := context.WithTimeoutCause(t.Context(), testenv.Patience, tooLong)
		defer cancel()
		a, ms, err := verify(ctx, data, fuzzLimits)
		var bad *Error
		if err != nil {
			if !errors.As(err, &bad) || bad.Reason == "" {
				t.Fatalf("not the archive's fault: %v", err)
			}
			if strings.Contains(bad.Reason, "goroutine") {
				t.Fatalf("tells of our inside: %s", bad.Reason)
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

// FuzzZipLikeGo reads whatever it is given as a zip, and what is accepted with the standard library too: that must find the same
// names, in the same order, with the same bytes.
func FuzzZipLikeGo(f *testing.F) {
	f.Add(zipOf(f, someFiles()))
	for _, cases := range []map[string]hostile{hostileZips(), ambiguousZips()} {
		for _, c := range cases {
			if len(c.data) < 4<<10 {
				f.Add(c.data)
			}
		}
	}
	f.Add(makeZip([]*entry{deflated("a/A/a.sym", symText), stored(".DS_Store", "finder")}, withEnd64(nil)))
	f.Add(makeZip([]*entry{emptyBlocks("a/A/a.sym")}, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, _, err := verify(t.Context(), data, fuzzLimits)
		if err != nil || a.sequential() || goMissesZip64(data) {
			return
		}
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		must(t, err)
		if len(z.File) != len(a.entries) {
			t.Fatalf("%d entries, Go finds %d", len(a.entries), len(z.File))
		}
		for i, m := range a.entries {
			if m.sent != z.File[i].Name {
				t.Errorf("the name %q is %q for Go", m.sent, z.File[i].Name)
			}
			r, err := z.File[i].Open()
			must(t, err)
			h := md5.New()
			_, err = io.Copy(h, r)
			must(t, err)
			if m.role != roleDirectory && [md5.Size]byte(h.Sum(nil)) != m.MD5 {
				t.Errorf("%q has MD5 %x, %x for Go", m.sent, m.MD5, h.Sum(nil))
			}
		}
	})
}

// goMissesZip64 reports whether the end record of a zip refers to its zip64 counterpart for the directory's size alone, which Go does
// not notice: it compares that size with 0xffff.
func goMissesZip64(data []byte) bool {
	at, _ := findEnd(data)
	end := data[at:]
	return le.Uint32(end[12:]) == max32 && le.Uint16(end[10:]) != max16 && le.Uint32(end[16:]) != max32
}
