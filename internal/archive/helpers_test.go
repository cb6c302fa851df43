package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/md5"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/mholt/archiver/v4"

	"tecken-upload/internal/testenv"
)

const roomyMembers = 100

var roomy = Limits{
	MaxMembers: roomyMembers, MaxMemberSize: 1 << 20, MaxExtractedSize: 4 << 20,
	DisallowedSnippets: []string{"qcom/proprietary", ""},
}

const symText = "MODULE Linux x86_64 44E4EC8C2F41492B9369D6B9A059577C2 firefox\n" +
	"INFO CODE_ID 8CECE444412F2B499369D6B9A059577C firefox.exe\nINFO GENERATOR mozilla/dump_syms 2.3\nFILE 0 main.c\n"

// A file is a member to be written.
type file struct{ name, content string }

// someFiles is a small archive with one member of every kind.
func someFiles() []file {
	return []file{
		{"firefox/", ""},
		{"firefox/44e4ec8c2f41492b9369d6b9a059577c2/firefox.sym", symText + strings.Repeat("FUNC 1000 2a 0 main\n", 500)},
		{"firefox/44e4ec8c2f41492b9369d6b9a059577c2/firefox.dbg.gz", strings.Repeat("\x00\x01\x02not really", 90)},
		{"firefox-60-symbols.txt", "firefox.sym\n"},
		{"firefox/.DS_Store", "finder"},
		{"empty.pdb/ABC123/empty.sym", ""},
	}
}

// An entry is a member of a zip with every field under the test's control.
type entry struct {
	name          string
	method, flags uint16
	data          string // as in the archive
	size          uint64 // inflated
	crc           uint32
	mode          uint32 // unix mode, in the upper half of the external attributes
	extra         []byte // of the central record
	comment       string
	localExtra    []byte
	descriptor    []byte
	local         func(rec []byte) []byte // changes the local header, name and extra included
	central       func(rec []byte)        // changes the central record
	at            *uint32                 // claims another place for the local header; nothing is written
}

func stored(name, content string) *entry {
	return &entry{name: name, data: content, size: uint64(len(content)), crc: crc32.ChecksumIEEE([]byte(content))}
}

func deflated(name, content string) *entry {
	e := stored(name, content)
	e.method, e.data = methodDeflated, deflate(content)
	return e
}

func deflate(content string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	_, _ = io.WriteString(w, content)
	_ = w.Close()
	return b.String()
}

// ref returns a pointer for entry.at.
func ref(off uint32) *uint32 { return &off }

// makeZip writes a zip of entries; fix may change its parts before they are put together.
func makeZip(entries []*entry, fix func(dir, end []byte) (newDir, newEnd []byte)) []byte {
	var out, dir []byte
	for _, e := range entries {
		off := uint32(len(out))
		if e.at != nil {
			off = *e.at
		} else {
			out = append(out, e.localHeader()...)
			out = append(append(out, e.data...), e.descriptor...)
		}
		dir = append(dir, e.record(off)...)
	}
	end := le.AppendUint32(nil, endSig)
	end = append(end, 0, 0, 0, 0)
	end = le.AppendUint16(end, uint16(len(entries)))
	end = le.AppendUint16(end, uint16(len(entries)))
	end = le.AppendUint32(end, uint32(len(dir)))
	end = le.AppendUint32(end, uint32(len(out)))
	end = append(end, 0, 0)
	if fix != nil {
		dir, end = fix(dir, end)
	}
	return append(append(out, dir...), end...)
}

func (e *entry) fields(rec []byte, size32 uint32) []byte {
	rec = le.AppendUint16(rec, e.flags)
	rec = le.AppendUint16(rec, e.method)
	rec = append(rec, 0, 0, 0x21, 0)
	rec = le.AppendUint32(rec, e.crc)
	rec = le.AppendUint32(rec, uint32(len(e.data)))
	rec = le.AppendUint32(rec, size32)
	return le.AppendUint16(rec, uint16(len(e.name)))
}

func (e *entry) localHeader() []byte {
	rec := e.fields(append(le.AppendUint32(nil, localSig), 20, 0), uint32(e.size))
	rec = le.AppendUint16(rec, uint16(len(e.localExtra)))
	rec = append(append(rec, e.name...), e.localExtra...)
	if e.descriptor != nil {
		clear(rec[14:26])
	}
	if e.local != nil {
		rec = e.local(rec)
	}
	return rec
}

func (e *entry) record(off uint32) []byte {
	rec := e.fields(append(le.AppendUint32(nil, centralSig), 20, 3, 20, 0), uint32(e.size))
	rec = le.AppendUint16(rec, uint16(len(e.extra)))
	rec = le.AppendUint16(rec, uint16(len(e.comment)))
	rec = append(rec, 0, 0, 0, 0)
	rec = le.AppendUint32(rec, e.mode<<16)
	rec = le.AppendUint32(rec, off)
	rec = append(append(append(rec, e.name...), e.extra...), e.comment...)
	if e.central != nil {
		e.central(rec)
	}
	return rec
}

// zipOf writes a zip as Go's own writer does: with data descriptors.
func zipOf(t testing.TB, files []file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		if i%3 == 2 {
			h.Method = zip.Store
		}
		m, err := w.CreateHeader(h)
		must(t, err)
		_, err = io.WriteString(m, f.content)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// tarOf writes a tar of files; those that end in "/" become directories.
func tarOf(t testing.TB, files []file) []byte {
	t.Helper()
	var hs []*tar.Header
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: tar.TypeReg, Size: int64(len(f.content)), Mode: 0o644}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		hs = append(hs, h)
	}
	return tarWith(t, hs, func(i int) string { return files[i].content })
}

func tarWith(t testing.TB, hs []*tar.Header, content func(i int) string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, h := range hs {
		must(t, w.WriteHeader(h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(w, content(i))
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

// formats lists every format with what makes it of a plain tar; the zip has none.
var formats = []string{"zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"}

func compress(t testing.TB, format string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch format {
	case "tar":
		return data
	case "tar.gz":
		w = gzip.NewWriter(&b)
	case "tar.bz2":
		w, err = archiver.Bz2{}.OpenWriter(&b)
	case "tar.xz":
		w, err = archiver.Xz{}.OpenWriter(&b)
	case "tar.zst":
		w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	}
	must(t, err)
	_, err = w.Write(data)
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

func build(t testing.TB, format string, files []file) []byte {
	t.Helper()
	if format == "zip" {
		return zipOf(t, files)
	}
	return compress(t, format, tarOf(t, files))
}

// A testSlot tells a test what is done with it.
type testSlot struct {
	ctx            context.Context
	moved, release func()
}

func (s testSlot) Context() context.Context { return s.ctx }
func (s testSlot) Moved()                   { s.moved() }
func (s testSlot) Release()                 { s.release() }

// free is an Acquire that never waits.
func free(ctx context.Context, _ int64) (Slot, error) {
	return testSlot{ctx, func() {}, func() {}}, context.Cause(ctx)
}

// verify opens and verifies data.
func verify(ctx context.Context, data []byte, l Limits) (*Archive, []*Member, error) {
	a, err := Open(ctx, bytes.NewReader(data), int64(len(data)), l)
	if err != nil {
		return nil, nil, err
	}
	ms, err := a.Verify(ctx, free)
	if errors.Is(err, ErrMoreMemory) {
		ms, err = a.Verify(ctx, free)
	}
	return a, ms, err
}

// rejected checks that data is refused as the archive's own fault, and returns the sentence.
func rejected(t *testing.T, data []byte, l Limits, kind error) string {
	t.Helper()
	_, ms, err := verify(t.Context(), data, l)
	var fault *Error
	if !errors.As(err, &fault) || !errors.Is(err, kind) {
		t.Fatalf("got error %v and %d members, want %v", err, len(ms), kind)
	}
	if ms != nil {
		t.Errorf("got members beside the error")
	}
	if strings.ContainsFunc(fault.Reason, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(fault.Reason) > 1500 {
		t.Errorf("not one bearable sentence: %q", fault.Reason)
	}
	return fault.Reason
}

var _ Scratch = (*os.File)(nil)

// scratchFiles gives out scratch files in memory, and knows how many are still open.
type scratchFiles struct{ open int }

type scratchFile struct {
	bytes.Buffer // what is written
	*bytes.Reader
	owner *scratchFiles
}

func (s *scratchFiles) new() (Scratch, error) {
	s.open++
	return &scratchFile{owner: s}, nil
}

func (f *scratchFile) Read(p []byte) (int, error)  { return f.Reader.Read(p) }
func (f *scratchFile) Write(p []byte) (int, error) { return f.Buffer.Write(p) }

// Seek ends the writing: a body's scratch is written once, then read.
func (f *scratchFile) Seek(offset int64, whence int) (int64, error) {
	if f.Reader == nil {
		f.Reader = bytes.NewReader(f.Bytes())
	}
	return f.Reader.Seek(offset, whence)
}

func (f *scratchFile) Close() error {
	f.owner.open--
	return nil
}

// contents reads the plain content of every member's body, by name, checking all that a Body promises.
func contents(t testing.TB, a *Archive) map[string]string {
	t.Helper()
	got := map[string]string{}
	scratch := &scratchFiles{}
	for m, err := range a.Walk(t.Context()) {
		must(t, err)
		if strings.HasSuffix(m.Name, "/") {
			continue
		}
		b, err := m.Body(t.Context(), scratch.new)
		must(t, err)
		got[m.Name] = bodyContent(t, m, b)
		must(t, b.Close())
	}
	if scratch.open != 0 {
		t.Errorf("%d scratch files left open", scratch.open)
	}
	return got
}

// bodyContent reads b, and returns what a reader of the stored object would see.
func bodyContent(t testing.TB, m *Member, b *Body) string {
	t.Helper()
	raw, err := io.ReadAll(b)
	must(t, err)
	if int64(len(raw)) != b.Size || crc32.ChecksumIEEE(raw) != b.CRC32 {
		t.Errorf("%s: body has %d bytes with CRC %08x, promised %d with %08x", m.Name, len(raw), crc32.ChecksumIEEE(raw), b.Size, b.CRC32)
	}
	if b.Gzip != m.Key.IsSym() {
		t.Errorf("%s: gzip %v", m.Name, b.Gzip)
	}
	if b.Gzip {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		must(t, err)
		raw, err = io.ReadAll(z)
		must(t, err)
	}
	if int64(len(raw)) != m.Size || md5.Sum(raw) != m.MD5 {
		t.Errorf("%s: body holds %d bytes with MD5 %x, verified were %d with %x", m.Name, len(raw), md5.Sum(raw), m.Size, m.MD5)
	}
	return string(raw)
}

// noLeak checks at the test's end that it left no goroutine and no descriptor behind.
func noLeak(t *testing.T) {
	t.Helper()
	fds := func() int {
		ds, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(ds)
	}
	goroutines, open := runtime.NumGoroutine(), fds()
	t.Cleanup(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(testenv.Patience); time.Now().Before(end); <-tick.C {
			if runtime.NumGoroutine() <= goroutines && fds() <= open {
				return
			}
		}
		t.Errorf("goroutines %d → %d, descriptors %d → %d", goroutines, runtime.NumGoroutine(), open, fds())
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(name, data, 0o600))
	return name
}
