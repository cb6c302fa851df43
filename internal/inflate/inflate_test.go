package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// read returns the decoded text of the stream from src.
func read(r *Reader, src io.Reader) (string, error) {
	r.Reset(src)
	text, err := io.ReadAll(r)
	return string(text), err
}

func TestVerdicts(t *testing.T) {
	used := NewReader()
	for name, v := range verdicts() {
		stream := v.stream.bytes
		for how, got := range map[string]struct {
			r   *Reader
			src io.Reader
		}{
			"a new reader":     {NewReader(), bytes.NewReader(stream)},
			"a used reader":    {used, bytes.NewReader(stream)},
			"one byte at once": {used, iotest.OneByteReader(bytes.NewReader(stream))},
		} {
			text, err := read(got.r, got.src)
			if (err == nil) != v.ok || v.ok && text != v.want {
				t.Errorf("%s, %s: %q, %v", name, how, text, err)
			}
		}
	}
}

// A stream ends with its final block, to the byte.
func TestBuffered(t *testing.T) {
	r := NewReader()
	for name, v := range verdicts() {
		if !v.ok {
			continue
		}
		if _, err := read(r, bytes.NewReader(append(bytes.Clone(v.stream.bytes), "more"...))); err != nil || r.Buffered() != len("more") {
			t.Errorf("%s: %d bytes left, %v", name, r.Buffered(), err)
		}
	}
}

// The source's error is returned unchanged: it may be our fault and not the stream's.
func TestSourceError(t *testing.T) {
	broken := errors.New("broken disk")
	r := NewReader()
	if _, err := read(r, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := NewGzip(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
	g, err := NewGzip(io.MultiReader(bytes.NewReader(gzipped(t, "a")), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(g); string(text) != "a" || !errors.Is(err, broken) {
		t.Errorf("%q, %v", text, err)
	}
}

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// headed adds fields to the header of a gzip file, and sets their flags.
func headed(file string, flags byte, fields string) string {
	return file[:3] + string(rune(flags)) + file[4:10] + fields + file[10:]
}

// headerSum is the checksum of a header without other fields.
func headerSum(file string, flags byte) string {
	return string(binary.LittleEndian.AppendUint16(nil, uint16(crc32.ChecksumIEEE([]byte(headed(file, flags, "")[:10])))))
}

func TestGzip(t *testing.T) {
	a, b := string(gzipped(t, "first ")), string(gzipped(t, "second"))
	flags := []byte(a)
	flags[3] = 0x20
	sum := []byte(a)
	sum[len(sum)-5] ^= 1
	for name, c := range map[string]struct {
		file, want string
		err        error // nil: none
	}{
		"one member":              {a, "first ", nil},
		"two members":             {a + b, "first second", nil},
		"empty members":           {strings.Repeat(string(gzipped(t, "")), 300) + b, "second", nil},
		"zeros follow":            {a + strings.Repeat("\x00", 100_000), "first ", nil},
		"nothing":                 {"", "", io.EOF},
		"no gzip":                 {"hello, world", "", gzip.ErrHeader},
		"zeros, then a member":    {a + "\x00\x00" + b, "first ", gzip.ErrHeader},
		"something follows":       {a + "hello, world", "first ", gzip.ErrHeader},
		"a member cut short":      {a + b[:len(b)-3], "first second", io.ErrUnexpectedEOF},
		"a header cut short":      {a + b[:6], "first ", io.ErrUnexpectedEOF},
		"a first one cut short":   {a[:6], "", io.ErrUnexpectedEOF},
		"wrong checksum":          {string(sum) + b, "first ", gzip.ErrChecksum},
		"reserved flags":          {string(flags), "", gzip.ErrHeader},
		"reserved flags, further": {b + string(flags), "second", gzip.ErrHeader},
		"a long name":             {headed(a, flagName, strings.Repeat("n", 200_000)+"\x00"), "first ", nil},
		"a long comment":          {headed(a, flagComment, strings.Repeat("c", 512)+"\x00"), "first ", nil},
		"all there can be":        {headed(a, flagExtra|flagName|flagComment, "\x02\x00xxn\x00c\x00"), "first ", nil},
		"a header's checksum":     {headed(a, flagHeaderCRC, headerSum(a, flagHeaderCRC)), "first ", nil},
		"a header's wrong one":    {headed(a, flagHeaderCRC, "\x00\x00"), "", gzip.ErrHeader},
		"a name without an end":   {headed(a, flagName, "")[:10] + "name", "", io.ErrUnexpectedEOF},
		"a field cut short":       {headed(a, flagExtra, "")[:10] + "\x09\x00x", "", io.ErrUnexpectedEOF},
		"the length is wrong":     {a[:len(a)-1] + "\x01", "first ", gzip.ErrChecksum},
	} {
		g, err := NewGzip(strings.NewReader(c.file))
		var text []byte
		if err == nil {
			text, err = io.ReadAll(g)
		}
		if string(text) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

// A broken deflate stream is broken in a gzip file as well.
func TestGzipVerdicts(t *testing.T) {
	for name, v := range verdicts() {
		file := append([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"), v.stream.bytes...)
		file = append(file, gzipped(t, v.want)[len(gzipped(t, v.want))-8:]...)
		g, err := NewGzip(bytes.NewReader(file))
		var text []byte
		if err == nil {
			text, err = io.ReadAll(g)
		}
		if (err == nil) != v.ok || v.ok && string(text) != v.want {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

// Text is given away before the source is asked for what comes after it.
func TestAsItArrives(t *testing.T) {
	var texts [][]byte
	for i, n := range []int{1, 100, 70_000, 3, 0, 200_000, 5_000} {
		texts = append(texts, symText(200_000 + i)[i:][:n])
	}
	var arrived, got bytes.Buffer
	w, err := flate.NewWriter(&arrived, 6)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	source := func(p []byte) (int, error) {
		if arrived.Len() > 0 {
			return arrived.Read(p)
		}
		if got.Len() != want {
			t.Errorf("%d bytes of %d were given away before the next were read", got.Len(), want)
		}
		if len(texts) == 0 {
			err = w.Close()
		} else {
			want += len(texts[0])
			_, err = w.Write(texts[0])
			err = errors.Join(err, w.Flush())
			texts = texts[1:]
		}
		n, _ := arrived.Read(p)
		return n, err
	}
	r := NewReader()
	r.Reset(readFunc(source))
	if n, err := r.WriteTo(&got); err != nil || n != int64(want) {
		t.Errorf("%d bytes of %d, %v", n, want, err)
	}
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// A writer's error is returned unchanged; what it has taken is not given away again.
func TestWriterError(t *testing.T) {
	r := NewReader()
	r.Reset(bytes.NewReader(deflated(8, []byte("some text"))))
	full := errors.New("full disk")
	n, err := r.WriteTo(writeFunc(func([]byte) (int, error) { return 5, full }))
	if n != 5 || !errors.Is(err, full) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := r.WriteTo(writeFunc(func([]byte) (int, error) { return 1, nil })); n != 1 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if rest, err := io.ReadAll(r); string(rest) != "ext" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

type writeFunc func(p []byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }
