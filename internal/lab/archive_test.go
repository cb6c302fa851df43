package lab_test

import (
	"archive/zip"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"io"
	"testing"
	"testing/iotest"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

// A variant has the same content under names of its own, however it is read.
func TestVariant(t *testing.T) {
	spec := testarchive.Spec{Seed: 1, Bytes: 100_000, Members: 9, Listing: true}
	inMemory, err := lab.NewArchive(spec)
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := lab.CreateArchive(t.TempDir(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*lab.Archive{inMemory, onDisk} {
		v, err := a.Variant(0xABC)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(iotest.OneByteReader(v.Reader()))
		if whole, err2 := io.ReadAll(v.Reader()); err != nil || err2 != nil || !bytes.Equal(content, whole) {
			t.Errorf("read in one piece it is another one (%v, %v)", err, err2)
		}
		r, err := zip.NewReader(bytes.NewReader(content), v.Size)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.File) != len(v.Members)+v.Ignored || v.Ignored != 1 {
			t.Errorf("%d members, not %d and %d", len(r.File), len(v.Members), v.Ignored)
		}
		for i, m := range v.Members {
			if n := bytes.Count(content, []byte(m.Name)); n != 2 {
				t.Errorf("%s is %d times in the archive, not in the directory and the local header", m.Name, n)
			}
			f, err := r.Open(m.Name)
			if err != nil {
				t.Fatal(err)
			}
			sum := md5.New()
			if n, err := io.Copy(sum, f); err != nil || n != m.Size || hex.EncodeToString(sum.Sum(nil)) != m.MD5 || m.Name == a.Members[i].Name {
				t.Errorf("%s, variant of %s: %d bytes (%v)", m.Name, a.Members[i].Name, n, err)
			}
		}
	}
}

func TestMetricsSum(t *testing.T) {
	m := lab.Metrics("# HELP a of b\na 1\nab 2\nc{x=\"1 }\",y=\"2\"} 3\nc{x=\"4\",y=\"2\"} 4e1\n")
	for name, want := range map[string]float64{"a": 1, "ab": 2, "c": 43, `c{x="4"`: 40, `c{x="4",y="2"}`: 40} {
		if got, ok := m.Sum(name); got != want || !ok {
			t.Errorf("%s is %v (%t), not %v", name, got, ok, want)
		}
	}
	if got, ok := m.Sum("b"); ok {
		t.Errorf("b is %v", got)
	}
}
