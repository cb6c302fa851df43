package differential

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"github.com/klauspost/compress/zstd"

	"tecken-upload/internal/archive"
)

// most bounds the bytes that are read of one member by any reader.
const most = 8 << 20

// A weight says what it means that a reader differs from us.
type weight int

const (
	counted weight = iota // nothing: it is counted
	lists                 // another list is a failure; an error is counted
	strict                // another list is a failure, and so is an error
)

// A reader is a program or a library that reads archives. Its read fails where it can't be asked at all.
type reader struct {
	name    string
	formats string // that it knows
	weight  weight
	read    func(w *worker, ctx context.Context, c *candidate) (listing, error)
}

const (
	zips = " zip "
	tars = " tar tar.gz tar.bz2 tar.xz tar.zst "
)

var readers = []reader{
	{"python", zips + " tar tar.gz tar.bz2 tar.xz ", strict, (*worker).readPython}, // 3.11 knows no zstd
	{"go", zips, lists, func(_ *worker, _ context.Context, c *candidate) (listing, error) { return goZip(c), nil }},
	{"go", " tar tar.gz tar.bz2 tar.zst ", lists, func(_ *worker, _ context.Context, c *candidate) (listing, error) { return goTar(c), nil }},
	{"bsdtar", zips + tars, strict, (*worker).readBsdtar},
	{"bsdtar from a pipe", zips, lists, (*worker).readBsdtarPipe},
	{"unzip", zips, lists, (*worker).readUnzip},
	{"tar", tars, lists, (*worker).readTar},
	{"7z", zips + " tar ", counted, (*worker).read7z},
}

func (r reader) knows(c *candidate) bool { return strings.Contains(r.formats, " "+c.format+" ") }

// exceptions are differences that are a reader's own limitation.
var exceptions = []struct {
	reader  string
	applies func(c *candidate, l listing) bool
	why     string
}{
	{"python", hasPaddedStreams, "its lzma takes the padding between two streams of an .xz for the end"},
	{"bsdtar", hasOddOwner, "it complains of an owner whose name is not UTF-8, and reads on"},
	{"unzip", hasMarkedNameOfDOS, "it takes names made on DOS for code page 850 in spite of their UTF-8 flag, which .NET writes"},
}

func (r reader) excused(c *candidate, l listing) bool {
	for _, e := range exceptions {
		if e.reader == r.name && e.applies(c, l) {
			return true
		}
	}
	return false
}

// hasPaddedStreams reports whether an .xz has padding in front of a stream.
func hasPaddedStreams(c *candidate, _ listing) bool {
	return c.format == "tar.xz" && bytes.Contains(c.data, []byte("\x00\x00\x00\x00\xfd7zXZ\x00"))
}

func hasOddOwner(_ *candidate, l listing) bool {
	return strings.Contains(l.complaint, "Uname can't be converted")
}

// hasMarkedNameOfDOS reports whether a zip has a name that is not ASCII and was made on DOS, OS/2 or by version 5.0 on NTFS.
func hasMarkedNameOfDOS(c *candidate, _ listing) bool {
	z, err := zip.NewReader(bytes.NewReader(c.data), int64(len(c.data)))
	return err == nil && slices.ContainsFunc(z.File, func(f *zip.File) bool {
		host := f.CreatorVersion >> 8
		return (host == 0 || host == 6 || f.CreatorVersion == 11<<8|50) && strings.ContainsFunc(f.Name, func(r rune) bool { return r > unicode.MaxASCII })
	})
}

// A listing is what a reader makes of an archive.
type listing struct {
	files     []file
	complaint string // empty where it read everything
}

type file struct {
	name string
	sum  string // MD5 in hex; of anything but a regular file, what it is instead
}

func (l *listing) add(name string, content io.Reader) error {
	h := md5.New()
	if _, err := io.Copy(h, io.LimitReader(content, most)); err != nil {
		return err
	}
	l.files = append(l.files, file{name, fmt.Sprintf("%x", h.Sum(nil))})
	return nil
}

// limits are above what any archive of the test's own holds.
var limits = archive.Limits{MaxMembers: 100, MaxMemberSize: most, MaxExtractedSize: 4 * most}

// work lends everything at once.
type work struct{}

func (work) Inflate(ctx context.Context, _ int64, do func(archive.Turn) error) error {
	return do(turn{ctx})
}

// turn is one that lasts.
type turn struct{ ctx context.Context }

func (t turn) Context() context.Context { return t.ctx }

func (turn) Moved(int64) {}

func (turn) Pause(_ context.Context, wait func() (int64, error)) error {
	_, err := wait()
	return err
}

func (work) Stage(_ context.Context, _ int64, write func(archive.Scratch) error) (archive.Scratch, error) {
	s := new(scratch)
	return s, write(s)
}

func (work) Memory(context.Context, int64) error { return nil }

func (work) Spare(int64) (giveBack func(), ok bool) { return nil, false }

// scratch is a scratch file in memory, which is written once, then read.
type scratch struct {
	written bytes.Buffer
	*bytes.Reader
}

func (s *scratch) Write(p []byte) (int, error) { return s.written.Write(p) }

func (s *scratch) Seek(offset int64, whence int) (int64, error) {
	if s.Reader == nil {
		s.Reader = bytes.NewReader(s.written.Bytes())
	}
	return s.Reader.Seek(offset, whence)
}

func (s *scratch) Close() error { return nil }

// ours reads the archive as an upload is read, down to the bodies that would be stored, by symbol key. What it accepted must be
// readable: every error that is no refusal is a fault of ours. So is a difference between an archive that is read as it arrives, and as a whole.
func ours(ctx context.Context, data []byte) (found map[string]string, refusal *archive.Error, err error) {
	a, err := archive.Open(ctx, bytes.NewReader(data), int64(len(data)), limits, work{})
	found, refusal, err = read(ctx, a, err)
	if err != nil {
		return nil, nil, err
	}
	f := archive.Follow(ctx, bytes.NewReader(data), limits, work{}, func(*archive.Member) {})
	defer f.Close()
	for i := range 3 { // pieces, of sizes that differ by archive
		f.Arrived(int64(len(data)) * int64(i*100+int(crc32.ChecksumIEEE(data)%100)) / 300)
		runtime.Gosched()
	}
	a, err = f.Open(ctx, int64(len(data)))
	arrived, refused, err := read(ctx, a, err)
	if err == nil && ((refused == nil) != (refusal == nil) || !maps.Equal(arrived, found)) {
		err = errors.New("as it arrives it is another archive")
	}
	if err != nil {
		return nil, nil, err
	}
	return found, refusal, nil
}

// read reads an archive that was opened, unless that failed.
func read(ctx context.Context, a *archive.Archive, err error) (found map[string]string, refusal *archive.Error, _ error) {
	if err == nil {
		for _, err = range a.Members(ctx) { // an error is the last
		}
	}
	switch {
	case errors.As(err, &refusal):
		return nil, refusal, nil
	case err != nil:
		return nil, nil, err
	}
	found = map[string]string{}
	err = a.Each(ctx, 1, func(ctx context.Context, m *archive.Member) (err error) {
		key := m.Key.String()
		if passedOver(key) {
			return nil
		}
		if found[key], err = bodySum(ctx, m); err != nil {
			return fmt.Errorf("body of %s: %w", m.Name, err)
		}
		return nil
	})
	return found, nil, err
}

// bodySum is the MD5 of what a client would download of m.
func bodySum(ctx context.Context, m *archive.Member) (string, error) {
	b, err := m.Body(ctx)
	if err != nil {
		return "", err
	}
	defer b.Close()
	var content io.Reader = b
	if b.Gzip {
		if content, err = gzip.NewReader(b); err != nil {
			return "", err
		}
	}
	h := md5.New()
	if _, err := io.Copy(h, content); err != nil {
		return "", err
	}
	sum := h.Sum(nil)
	if !bytes.Equal(sum, m.MD5[:]) {
		return "", fmt.Errorf("it has MD5 %x, and was verified as %x", sum, m.MD5)
	}
	return fmt.Sprintf("%x", sum), nil
}

// goZip reads with the standard library.
func goZip(c *candidate) (l listing) {
	z, err := zip.NewReader(bytes.NewReader(c.data), int64(len(c.data)))
	if err != nil {
		return listing{complaint: err.Error()}
	}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		content, err := f.Open()
		if err == nil {
			err = l.add(f.Name, content)
		}
		if err != nil {
			l.complaint += err.Error() + "; "
		}
	}
	return l
}

// goTar reads with the standard library. It gives a hard link the content of the last file before it that has the name of its target.
func goTar(c *candidate) (l listing) {
	in, err := decompress(c)
	if err != nil {
		return listing{complaint: err.Error()}
	}
	t := tar.NewReader(in)
	for err == nil {
		var h *tar.Header
		if h, err = t.Next(); err != nil {
			break
		}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
			err = l.add(h.Name, t)
		case tar.TypeLink:
			l.link(h.Name, h.Linkname)
		case tar.TypeDir, tar.TypeXGlobalHeader, 'V':
		default:
			l.files = append(l.files, file{h.Name, fmt.Sprintf("type %q", h.Typeflag)})
		}
	}
	if !errors.Is(err, io.EOF) {
		l.complaint = err.Error()
	}
	return l
}

func (l *listing) link(name, target string) {
	sum := "a link to nothing"
	for _, f := range l.files {
		if path.Clean(f.name) == path.Clean(target) {
			sum = f.sum
		}
	}
	l.files = append(l.files, file{name, sum})
}

func decompress(c *candidate) (io.Reader, error) {
	in := bytes.NewReader(c.data)
	switch c.format {
	case "tar.gz":
		return gzip.NewReader(in)
	case "tar.bz2":
		return bzip2.NewReader(in), nil
	case "tar.zst":
		return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	}
	return in, nil
}
