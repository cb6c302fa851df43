package inflate_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"strings"
	"testing"

	"tecken-upload/internal/inflate"
)

func TestSeeker(t *testing.T) {
	text := strings.Repeat("FUNC 1000 2a 0 main\nFILE 0 main.c\n", 5000)
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 6)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	size := int64(len(text))
	s := inflate.NewSeeker(bytes.NewReader(b.Bytes()), size, inflate.NewReader())
	for _, off := range []int64{0, 70_000, 3, 3, size - 1, size, 0} {
		if _, err := s.Seek(off-size, io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.LimitReader(s, 1000))
		if want := text[off:min(off+1000, size)]; err != nil || string(got) != want {
			t.Errorf("at %d: %d bytes instead of %d, %v", off, len(got), len(want), err)
		}
	}
	if _, err := s.Seek(-1, io.SeekStart); err == nil {
		t.Error("it seeks before the start")
	}
	cut := inflate.NewSeeker(bytes.NewReader(b.Bytes()[:b.Len()/2]), size, inflate.NewReader())
	if got, err := io.ReadAll(cut); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix(text, string(got)) {
		t.Errorf("a stream that is cut short: %d bytes, %v", len(got), err)
	}
}
