package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// block writes one tar header by hand, checksum and all.
func block(name string, kind byte, size string) []byte {
	b := make([]byte, blockSize)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00"+size)
	copy(b[136:], "00000000000\x00")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	return seal(b)
}

func seal(b []byte) []byte {
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b[:blockSize] {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// oldSparse is the header of a GNU sparse file of 4 KiB that are one hole.
func oldSparse(name string) []byte {
	b := block(name, 'S', octal(0))
	copy(b[257:], "ustar  \x00")
	copy(b[386:], octal(4096)+octal(0))
	copy(b[483:], octal(4096))
	return seal(b)
}

func octal(n int) string { return fmt.Sprintf("%011o\x00", n) }

// padded fills s up to a whole number of blocks.
func padded(s string) []byte { return append([]byte(s), make([]byte, -len(s)&(blockSize-1))...) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

var tarEnd = make([]byte, 2*blockSize)

// hostileTars are tars with one thing wrong.
func hostileTars() map[string]hostile {
	const name = "a/A/a.sym"
	sym := join(block(name, '0', octal(len(symText))), padded(symText))
	kind := func(k byte) []byte { return join(sym, block("b/B/b.sym", k, octal(0)), tarEnd) }
	pax := func(records string) []byte { return join(block("pax", 'x', octal(len(records))), padded(records)) }
	huge := append([]byte{0x80, 0, 0, 0}, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	negative := bytes.Repeat([]byte{0xff}, 12)
	return map[string]hostile{
		"hard link to nothing":  {kind('1'), "'b/B/b.sym' is a hard link to '', which is no other member before it"},
		"symbolic link":         {kind('2'), "'b/B/b.sym' is a symbolic link"},
		"char device":           {kind('3'), "is a device"},
		"block device":          {kind('4'), "is a device"},
		"named pipe":            {kind('6'), "is a named pipe"},
		"contiguous":            {kind('7'), "is a special file of type '7'"},
		"vendor's own":          {kind('Z'), "is a special file of type 'Z'"},
		"negative size":         {join(block(name, '0', string(negative)), tarEnd), "is damaged"},
		"negative pax size":     {join(pax("11 size=-1\n"), sym, tarEnd), "is no number"},
		"octal garbage":         {join(block(name, '0', "zzzzzzzzzzz\x00"), tarEnd), "is damaged"},
		"no end":                {sym, "does not end with two blocks of zeros"},
		"half an end":           {join(sym, tarEnd[:blockSize]), "does not end with two blocks of zeros"},
		"zeros, then more":      {join(sym, tarEnd[:blockSize], sym, tarEnd), "block of zeros in front of another header"},
		"a tar after the tar":   {join(sym, tarEnd, sym, tarEnd), "Something follows the end"},
		"garbage after the tar": {join(sym, tarEnd, []byte("x")), "Something follows the end"},
		"second header damaged": {
			join(sym, bytes.Repeat([]byte("x"), blockSize), tarEnd), "wrong checksum, after the member 'a/A/a.sym'"},
		"wrong checksum":       {join(append(block(name, '0', octal(0))[:blockSize-1], 'x'), tarEnd), "wrong checksum, after its start"},
		"no members":           {join(pax("11 path=ab\n"), tarEnd), "belongs to no member"},
		"only directories":     {join(block("a/", '5', octal(0)), tarEnd), "no symbol file"},
		"only a global header": {join(block("g", 'g', octal(13)), padded("13 comment=x\n"), tarEnd), "belongs to no member"},
		"only a label":         {join(block("label", 'V', octal(0)), tarEnd), "archive is empty"},
		"pax name climbs": {
			join(pax("18 path=../../etc\n"), sym, tarEnd), "First unrecognized pattern was '../../etc'"},
		"GNU name climbs": {
			join(block("x", 'L', octal(9)), padded("../../etc"), sym, tarEnd), "First unrecognized pattern was '../../etc'"},
		"GNU name of a megabyte": {
			join(block("x", 'L', octal(1<<20)), padded(strings.Repeat("n", 1<<20)), sym, tarEnd), "nnn…'"},
		"GNU name of more": {
			join(block("x", 'L', octal(1<<20+1)), padded(strings.Repeat("n", 1<<20+1)), sym, tarEnd), "it has 1 to 1048576 bytes"},
		"declares more than there is": {join(block(name, '0', octal(9999)), padded(symText)), "ends too early"},
		"declares all there can be":   {join(block(name, '0', string(huge)), tarEnd), "may have at most"},
	}
}

func TestHostileTar(t *testing.T) {
	noLeak(t)
	for name, c := range hostileTars() {
		t.Run(name, func(t *testing.T) {
			for _, format := range formats[1:] {
				kind := ErrInvalid
				if strings.Contains(c.want, "at most") {
					kind = ErrTooLarge
				}
				if got := rejected(t, compress(t, format, c.data), roomy, kind); !strings.Contains(got, c.want) {
					t.Errorf("%s: %q does not say %q", format, got, c.want)
				}
			}
		})
	}
}

// Tars that are unusual, but well-formed.
func TestUnusualTars(t *testing.T) {
	const name = "a/A/a.sym"
	v7 := block(name, 0, octal(len(symText)))
	clear(v7[257:])
	v7 = join(seal(v7), padded(symText), tarEnd)
	long := strings.Repeat("l", 150) + "/A/" + strings.Repeat("s", 190) + ".sym"
	content := func(int) string { return symText }
	header := func(format tar.Format, name string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(symText)), Mode: 0o600, Format: format}
	}
	for what, c := range map[string]struct {
		data []byte
		name string
	}{
		"v7":         {v7, name},
		"GNU":        {tarWith(t, []*tar.Header{header(tar.FormatGNU, name)}, content), name},
		"GNU, long":  {tarWith(t, []*tar.Header{header(tar.FormatGNU, long)}, content), long},
		"pax, long":  {tarWith(t, []*tar.Header{header(tar.FormatPAX, long)}, content), long},
		"big record": {join(v7, make([]byte, 1<<20)), name},
		"global header": {tarWith(t, []*tar.Header{
			{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "made by git"}}, header(tar.FormatUSTAR, name),
		}, content), name},
	} {
		for _, format := range formats[1:] {
			a, ms, err := verify(t.Context(), compress(t, format, c.data), roomy)
			if err != nil {
				t.Errorf("%s: %s: %v", format, what, err)
				continue
			}
			if got := contents(t, a)[c.name]; len(ms) != 1 || got != symText {
				t.Errorf("%s: %s: %d members, content %q", format, what, len(ms), got)
			}
		}
	}
}

// What is compressed, but no tar, says so; so does a stream that goes on after its end.
func TestCompressedButNoTar(t *testing.T) {
	good := tarOf(t, someFiles())
	for _, format := range formats[2:] {
		for name, content := range map[string]string{"symbols": strings.Repeat(symText, 20), "page": "<html>" + strings.Repeat(" ", 600)} {
			got := rejected(t, compress(t, format, []byte(content)), roomy, ErrInvalid)
			if !strings.Contains(got, "there is no tar in it") {
				t.Errorf("%s of %s: %q", format, name, got)
			}
		}
		rejected(t, compress(t, format, nil), roomy, ErrInvalid)
		rejected(t, append(compress(t, format, good), "trailing garbage"...), roomy, ErrInvalid)
		if _, _, err := verify(t.Context(), append(compress(t, format, good[:1024]), compress(t, format, good[1024:])...), roomy); err != nil {
			t.Errorf("%s in two streams: %v", format, err)
		}
	}
}

// A deflate stream that zlib refuses is refused in a tar.gz too.
func TestGzipIsStrict(t *testing.T) {
	good := tarOf(t, someFiles())
	stored := le.AppendUint16(le.AppendUint16([]byte{0}, uint16(len(good))), ^uint16(len(good)))
	for _, last := range []string{noDistances, staleDistances} {
		file := join(gzipHeader[:], stored, good, []byte(last), make([]byte, 8))
		if got := rejected(t, file, roomy, ErrInvalid); !strings.Contains(got, "can't be decoded") {
			t.Error(got)
		}
	}
}

// A decoder of the test's own, with the manners of the worst.
type badDecoder struct {
	open error
	read func(r io.Reader, p []byte) (int, error)
}

func (d badDecoder) Open(r io.Reader, _ int64) (io.ReadCloser, error) {
	if d.open != nil {
		panic(d.open)
	}
	return io.NopCloser(readerFunc(func(p []byte) (int, error) { return d.read(r, p) })), nil
}

// Decoders that panic or never end cost the archive, not the process.
func TestBadDecoders(t *testing.T) {
	noLeak(t)
	header := block("a/A/a.sym", '0', octal(9000))
	for name, c := range map[string]struct {
		decoder badDecoder
		kind    error
	}{
		"panics when opened": {badDecoder{open: errors.New("index out of range")}, ErrInvalid},
		"panics":             {badDecoder{read: func(io.Reader, []byte) (int, error) { panic("index out of range") }}, ErrInvalid},
		"panics in a member": {badDecoder{read: func() func(io.Reader, []byte) (int, error) {
			n := 0
			return func(_ io.Reader, p []byte) (int, error) {
				if n++; n > 1 {
					panic("index out of range")
				}
				return copy(p, header), nil
			}
		}()}, ErrInvalid},
		"gives nothing for ever": {badDecoder{read: func(io.Reader, []byte) (int, error) { return 0, nil }}, ErrInvalid},
		"gives zeros for ever":   {badDecoder{read: func(_ io.Reader, p []byte) (int, error) { clear(p); return len(p), nil }}, ErrTooLarge},
		"gives headers for ever": {badDecoder{read: func() func(io.Reader, []byte) (int, error) {
			global := bytes.NewReader(nil)
			return func(_ io.Reader, p []byte) (int, error) {
				if global.Len() == 0 {
					global.Reset(join(block("g", 'g', octal(13)), padded("13 comment=x\n")))
				}
				return global.Read(p)
			}
		}()}, ErrTooLarge},
	} {
		a, err := Open(t.Context(), bytes.NewReader(header), blockSize, roomy, new(desk))
		must(t, err)
		a.format = format{"tar.bad", &compression{open: c.decoder.Open}}
		_, err = collect(t.Context(), a)
		var fault *Error
		if !errors.As(err, &fault) || !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(fault.Reason, "index out of range") || strings.Contains(fault.Reason, "goroutine") {
			t.Errorf("%s: the client is told of our inside: %s", name, fault.Reason)
		}
		if strings.HasPrefix(name, "panics") && !strings.Contains(fmt.Sprint(fault.Cause), "index out of range") {
			t.Errorf("%s: the log is not told: %v", name, fault.Cause)
		}
	}
}

// A decoder that works for ever without giving anything stops with its context.
func TestEndlessDecoder(t *testing.T) {
	noLeak(t)
	cause := errors.New("deadline of the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	a, err := Open(ctx, bytes.NewReader(tarOf(t, someFiles())), 4096, roomy, new(desk))
	must(t, err)
	rounds := 0
	decoder := badDecoder{read: func(r io.Reader, p []byte) (int, error) {
		for {
			if rounds++; rounds == 1000 {
				cancel(cause)
			}
			if _, err := r.Read(p[:1]); err != nil && !errors.Is(err, io.EOF) {
				return 0, err
			}
		}
	}}
	a.format = format{"tar.bad", &compression{open: decoder.Open}}
	if _, err := collect(ctx, a); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}
