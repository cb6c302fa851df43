package spool

import (
	"bytes"
	"io"
	"os"
	"testing"
)

func TestReceive(t *testing.T) {
	s, err := Open(t.TempDir()+"/spool", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	body := bytes.Repeat([]byte("symbols "), 1<<20)
	w, err := s.Create(t.Context(), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := w.Receive(t.Context(), bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("read back %d bytes, %v", len(got), err)
	}
	out, _ := os.ReadFile(s.dir + "/" + w.ID() + "/" + manifestName)
	t.Logf("%s", out)
	u, err := s.Usage(t.Context())
	t.Logf("%+v %v", u, err)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	u, err = s.Usage(t.Context())
	t.Logf("%+v %v", u, err)
}
