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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tecken-upload/internal/archive/tartest"
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

func build(t testing.TB, format string, files []file) []byte {
	t.Helper()
	if format == "zip" {
		return zipOf(t, files)
	}
	return tartest.Compress(t, format, tarOf(t, files))
}

// A desk is the Work of a test: it lends everything at once, unless the test says otherwise.
type desk struct {
	inflate func(ctx context.Context, cost int64) (context.Context, error) // whether Inflate may, and in which context
	scratch func() (Scratch, error)
	moves   atomic.Int64 // reports of movement
	moved   atomic.Int64 // bytes in them
	held    atomic.Int64 // calls of Inflate that are at work
	open    atomic.Int64 // scratch files
	spare   int64        // bytes that Spare has
	spared  atomic.Int64 // of these, in use

	mu     sync.Mutex
	costs  []int64 // of the calls of Inflate
	memory []int64 // of the calls of Memory
}

func (d *desk) Inflate(ctx context.Context, cost int64, do func(Turn) error) (err error) {
	d.mu.Lock()
	d.costs = append(d.costs, cost)
	d.mu.Unlock()
	if d.inflate != nil {
		if ctx, err = d.inflate(ctx, cost); err != nil {
			return err
		}
	}
	d.held.Add(1)
	defer d.held.Add(-1)
	return do(deskTurn{d, ctx})
}

// A deskTurn is a turn at a desk.
type deskTurn struct {
	*desk
	ctx context.Context
}

func (t deskTurn) Context() context.Context { return t.ctx }

func (t deskTurn) Moved(n int64) {
	t.moves.Add(1)
	t.moved.Add(n)
}

func (t deskTurn) Pause(_ context.Context, wait func() (int64, error)) error {
	t.held.Add(-1)
	defer t.held.Add(1)
	cost, err := wait()
	t.mu.Lock()
	t.costs = append(t.costs, cost)
	t.mu.Unlock()
	return err
}

func (d *desk) Stage(_ context.Context, _ int64, write func(Scratch) error) (f Scratch, err error) {
	f = &scratchFile{open: &d.open}
	if d.scratch != nil {
		if f, err = d.scratch(); err != nil {
			return nil, err
		}
	}
	d.open.Add(1)
	if err := write(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d *desk) Spare(bytes int64) (giveBack func(), ok bool) {
	if d.spare < bytes {
		return nil, false
	}
	d.spared.Add(bytes)
	return func() { d.spared.Add(-bytes) }, true
}

func (d *desk) Memory(_ context.Context, bytes int64) error {
	d.memory = append(d.memory, bytes)
	return nil
}

// open opens data.
func open(ctx context.Context, data []byte, l Limits, w Work) (*Archive, error) {
	return Open(ctx, bytes.NewReader(data), int64(len(data)), l, w)
}

// collect returns all members, or none and the error.
func collect(ctx context.Context, a *Archive) (ms []*Member, err error) {
	for m, err := range a.Members(ctx) {
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// verify opens and verifies data.
func verify(ctx context.Context, data []byte, l Limits) (*Archive, []*Member, error) {
	a, err := open(ctx, data, l, new(desk))
	if err != nil {
		return nil, nil, err
	}
	ms, err := collect(ctx, a)
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

// A scratchFile is in memory, and counts itself out of those that are open.
type scratchFile struct {
	bytes.Buffer // what is written
	*bytes.Reader
	open *atomic.Int64
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
	f.open.Add(-1)
	return nil
}

// contents reads the plain content of every member that is to be stored, by name, checking all that a Body promises.
func contents(t testing.TB, a *Archive) map[string]string {
	t.Helper()
	got := map[string]string{}
	must(t, a.Each(t.Context(), 1, func(ctx context.Context, m *Member) error {
		got[m.Name] = content(ctx, t, m)
		return nil
	}))
	if n := a.work.(*desk).open.Load(); n != 0 {
		t.Errorf("%d scratch files left open", n)
	}
	return got
}

// content reads the plain content of a member's body.
func content(ctx context.Context, t testing.TB, m *Member) string {
	t.Helper()
	b, err := m.Body(ctx)
	must(t, err)
	defer func() { must(t, b.Close()) }()
	return bodyContent(t, m, b)
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
