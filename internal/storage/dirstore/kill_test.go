package dirstore_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// victimDir makes this binary a writer to be killed.
var victimDir = flag.String("victim", "", "begin to store an object in this directory")

func TestMain(m *testing.M) {
	flag.Parse()
	if *victimDir != "" {
		fmt.Fprintln(os.Stderr, victim(*victimDir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim begins to store an object, reports it on stdout, and never ends.
func victim(dir string) error {
	ctx := context.Background()
	s, err := dirstore.Open(ctx, dir)
	if err != nil {
		return err
	}
	key, err := symbol.ParseKey("a.pdb/1/a.pdb")
	if err != nil {
		return err
	}
	data := make([]byte, 1<<20)
	return s.Put(ctx, upload.Location{Key: key}, upload.Object{Size: 2 << 20}, upload.Body{
		Reader: &endless{Reader: bytes.NewReader(data)},
		Size:   2 << 20,
		CRC32:  crc32.ChecksumIEEE(data),
	})
}

// endless is a body that stops coming.
type endless struct{ io.Reader }

// Read implements io.Reader.
func (r *endless) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		fmt.Fprintln(os.Stdout, "amid")
		select {}
	}
	return n, err
}

// Seek is never called.
func (*endless) Seek(int64, int) (int64, error) { return 0, io.ErrUnexpectedEOF }

func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	loc, former := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, 1000)
	former.Put(t, s, loc)

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-victim", dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("amid\n"))); err != nil {
		t.Fatal(err)
	}

	open(t, dir)
	if names := staged(t, dir); len(names) != 1 {
		t.Errorf("staged are %q; want the file of the living writer", names)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.Exited() {
		t.Errorf("the writer ended by itself: %v", err)
	}
	if names := staged(t, dir); len(names) != 1 {
		t.Errorf("staged are %q; want the file of the dead writer", names)
	}
	former.Check(t, s, loc)
	open(t, dir)
	if names := staged(t, dir); len(names) != 0 {
		t.Errorf("staged are %q; want none", names)
	}
	former.Check(t, s, loc)
}

// staged returns the names of the files being written.
func staged(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}
