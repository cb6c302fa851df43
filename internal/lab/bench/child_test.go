package bench

import (
	"bytes"
	"context"
	"crypto/md5"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zip"
	"github.com/labstack/echo/v4"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/lab/process"
	"tecken-upload/internal/testarchive"
)

// What the server is compared with has a process of its own, for its CPU time to be counted: this program again.
var (
	inflates = flag.Bool("child-inflates", false, "inflate the zip on standard input, and end")
	answers  = flag.Bool("child-answers", false, "answer HEAD requests, until killed")
)

// playsChild does what the command line says that a child is to do; played is false where this is no child.
func playsChild() (played bool) {
	var err error
	switch {
	case *inflates:
		var info os.FileInfo
		if info, err = os.Stdin.Stat(); err == nil {
			err = inflateZip(os.Stdin, info.Size())
		}
	case *answers:
		err = answer()
	default:
		return false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// child starts this program as a child.
func (b *bench) child(stdin io.Reader, flag string) *process.Process {
	b.Helper()
	self, err := os.Executable()
	b.must(err)
	cmd := exec.Command(self, flag)
	cmd.Stdin = stdin
	p, err := process.Start(cmd)
	b.must(err)
	b.Cleanup(func() {
		if err := p.Kill(); err != nil {
			b.Error(err)
		}
	})
	return p
}

// inflate returns the CPU time that it takes to inflate an archive once: the least that a server has to do with an upload.
func (b *bench) inflate(a *lab.Archive) time.Duration {
	b.Helper()
	p := b.child(a.Content.(*os.File), "-child-inflates")
	b.must(p.Err())
	used, err := p.CPU()
	b.must(err)
	return used
}

// inflateZip reads each member of a zip once, with klauspost's decoder, and computes its MD5 and its CRC-32.
func inflateZip(archive io.ReaderAt, size int64) error {
	r, err := zip.NewReader(archive, size)
	if err != nil {
		return err
	}
	for _, f := range r.File {
		if err := inflateMember(f); err != nil {
			return fmt.Errorf("inflate %s: %w", f.Name, err)
		}
	}
	return nil
}

// inflateMember computes each digest once: a zip.Reader's own check is passed by.
func inflateMember(f *zip.File) error {
	body, err := f.OpenRaw()
	if err != nil {
		return err
	}
	switch f.Method {
	case zip.Store:
	case zip.Deflate:
		body = flate.NewReader(body)
	default:
		return zip.ErrAlgorithm
	}
	sum, crc := md5.New(), crc32.NewIEEE()
	n, err := io.Copy(io.MultiWriter(sum, crc), body)
	if err == nil && (uint64(n) != f.UncompressedSize64 || crc.Sum32() != f.CRC32) {
		err = zip.ErrChecksum
	}
	return err
}

func TestInflateZip(t *testing.T) {
	for name, store := range map[string]bool{"deflated": false, "stored": true} {
		var archive bytes.Buffer
		if _, err := testarchive.Write(&archive, testarchive.Spec{Members: 7, Store: store}); err != nil {
			t.Fatal(err)
		}
		if err := inflateZip(bytes.NewReader(archive.Bytes()), int64(archive.Len())); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		archive.Bytes()[archive.Len()/4] ^= 1 // in the first member, which holds half
		if err := inflateZip(bytes.NewReader(archive.Bytes()), int64(archive.Len())); err == nil {
			t.Errorf("%s: a broken archive is no error", name)
		}
	}
}

// bare starts the least that Echo can do, an empty answer to each path of three components, and returns where it serves.
func (b *bench) bare() *lab.Instance {
	b.Helper()
	p := b.child(nil, "-child-answers")
	logged, err := p.Logged(b.Context(), "serving")
	b.must(err)
	return &lab.Instance{Process: p, Address: logged.Text("address")}
}

func answer() error {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e := echo.New()
	e.HEAD("/:a/:b/:c", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
	fmt.Fprintf(os.Stdout, `{"msg":"serving","address":%q}`+"\n", l.Addr())
	s := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	return s.Serve(l)
}
