package dirstore

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

	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// These make this binary a writer to be killed.
var (
	victimDir     = flag.String("victim", "", "begin to store an object in this directory")
	victimUnnamed = flag.Bool("unnamed", false, "by way of a file without a name")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *victimDir != "" {
		fmt.Fprintln(os.Stderr, victim(*victimDir, *victimUnnamed))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim begins to store an object, reports it on stdout, and never ends.
func victim(dir string, unnamed bool) error {
	ctx := context.Background()
	s, err := Open(ctx, dir)
	if err != nil {
		return err
	}
	s.unnamed = unnamed
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

// What a killed writer leaves is gone at once, or after the next start where it has a name.
func TestKilledWriter(t *testing.T) {
	for name, named := range map[string]int{"unnamed": 0, "named": 1} {
		t.Run(name, func(t *testing.T) { testKilledWriter(t, named) })
	}
}

func testKilledWriter(t *testing.T, named int) {
	dir := t.TempDir()
	s := openStore(t, dir)
	loc, former := storagetest.Location(t, "a.pdb/1/a.pdb"), storagetest.Random(1, 1000)
	former.Put(t, s, loc)

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-victim", dir, fmt.Sprintf("-unnamed=%t", named == 0))
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

	openStore(t, dir)
	wantNew(t, dir, named) // of the living writer
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.Exited() {
		t.Errorf("the writer ended by itself: %v", err)
	}
	wantNew(t, dir, named) // of the dead one
	former.Check(t, s, loc)
	openStore(t, dir)
	wantNew(t, dir, 0)
	former.Check(t, s, loc)
}

// wantNew fails the test unless so many files that are being written have names.
func wantNew(t *testing.T, dir string, want int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, ".new", "*"))
	if err != nil || len(names) != want {
		t.Errorf("being written are %q, %v; want %d", names, err, want)
	}
}
