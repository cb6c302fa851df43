package archive

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	"tecken-upload/internal/archive/tarcheck"
	"tecken-upload/internal/archive/tartest"
)

// hostileTars are tars with one thing wrong.
func hostileTars() map[string]hostile {
	const name = "a/A/a.sym"
	sym := tartest.Join(tartest.Header(name, '0', tartest.Octal(len(symText))), tartest.Padded(symText))
	kind := func(k byte) []byte {
		return tartest.Join(sym, tartest.Header("b/B/b.sym", k, tartest.Octal(0)), tartest.End)
	}
	pax := func(records string) []byte {
		return tartest.Join(tartest.Header("pax", 'x', tartest.Octal(len(records))), tartest.Padded(records))
	}
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
		"negative size":         {tartest.Join(tartest.Header(name, '0', string(negative)), tartest.End), "is damaged"},
		"negative pax size":     {tartest.Join(pax("11 size=-1\n"), sym, tartest.End), "is no number"},
		"octal garbage":         {tartest.Join(tartest.Header(name, '0', "zzzzzzzzzzz\x00"), tartest.End), "is damaged"},
		"no end":                {sym, "does not end with two blocks of zeros"},
		"half an end":           {tartest.Join(sym, tartest.End[:tarcheck.BlockSize]), "does not end with two blocks of zeros"},
		"zeros, then more":      {tartest.Join(sym, tartest.End[:tarcheck.BlockSize], sym, tartest.End), "block of zeros in front of another header"},
		"a tar after the tar":   {tartest.Join(sym, tartest.End, sym, tartest.End), "Something follows the end"},
		"garbage after the tar": {tartest.Join(sym, tartest.End, []byte("x")), "Something follows the end"},
		"second header damaged": {
			tartest.Join(sym, bytes.Repeat([]byte("x"), tarcheck.BlockSize), tartest.End), "wrong checksum, after the member 'a/A/a.sym'"},
		"wrong checksum":       {tartest.Join(append(tartest.Header(name, '0', tartest.Octal(0))[:tarcheck.BlockSize-1], 'x'), tartest.End), "wrong checksum, after its start"},
		"no members":           {tartest.Join(pax("11 path=ab\n"), tartest.End), "belongs to no member"},
		"only directories":     {tartest.Join(tartest.Header("a/", '5', tartest.Octal(0)), tartest.End), "no symbol file"},
		"only a global header": {tartest.Join(tartest.Header("g", 'g', tartest.Octal(13)), tartest.Padded("13 comment=x\n"), tartest.End), "belongs to no member"},
		"only a label":         {tartest.Join(tartest.Header("label", 'V', tartest.Octal(0)), tartest.End), "archive is empty"},
		"pax name climbs": {
			tartest.Join(pax("18 path=../../etc\n"), sym, tartest.End), "First unrecognized pattern was '../../etc'"},
		"GNU name climbs": {
			tartest.Join(tartest.Header("x", 'L', tartest.Octal(9)), tartest.Padded("../../etc"), sym, tartest.End), "First unrecognized pattern was '../../etc'"},
		"GNU name of a megabyte": {
			tartest.Join(tartest.Header("x", 'L', tartest.Octal(1<<20)), tartest.Padded(strings.Repeat("n", 1<<20)), sym, tartest.End), "nnn…'"},
		"GNU name of more": {
			tartest.Join(tartest.Header("x", 'L', tartest.Octal(1<<20+1)), tartest.Padded(strings.Repeat("n", 1<<20+1)), sym, tartest.End), "it has 1 to 1048576 bytes"},
		"declares more than there is": {tartest.Join(tartest.Header(name, '0', tartest.Octal(9999)), tartest.Padded(symText)), "ends too early"},
		"declares all there can be":   {tartest.Join(tartest.Header(name, '0', string(huge)), tartest.End), "may have at most"},
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
				if got := rejected(t, tartest.Compress(t, format, c.data), roomy, kind); !strings.Contains(got, c.want) {
					t.Errorf("%s: %q does not say %q", format, got, c.want)
				}
			}
		})
	}
}

// Tars that are unusual, but well-formed.
func TestUnusualTars(t *testing.T) {
	const name = "a/A/a.sym"
	v7 := tartest.Header(name, 0, tartest.Octal(len(symText)))
	clear(v7[257:])
	v7 = tartest.Join(tartest.Seal(v7), tartest.Padded(symText), tartest.End)
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
		"big record": {tartest.Join(v7, make([]byte, 1<<20)), name},
		"global header": {tarWith(t, []*tar.Header{
			{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "made by git"}}, header(tar.FormatUSTAR, name),
		}, content), name},
	} {
		for _, format := range formats[1:] {
			a, ms, err := verify(t.Context(), tartest.Compress(t, format, c.data), roomy)
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
			got := rejected(t, tartest.Compress(t, format, []byte(content)), roomy, ErrInvalid)
			if !strings.Contains(got, "there is no tar in it") {
				t.Errorf("%s of %s: %q", format, name, got)
			}
		}
		rejected(t, tartest.Compress(t, format, nil), roomy, ErrInvalid)
		rejected(t, append(tartest.Compress(t, format, good), "trailing garbage"...), roomy, ErrInvalid)
		if _, _, err := verify(t.Context(), append(tartest.Compress(t, format, good[:1024]), tartest.Compress(t, format, good[1024:])...), roomy); err != nil {
			t.Errorf("%s in two streams: %v", format, err)
		}
	}
}

// A deflate stream that zlib refuses is refused in a tar.gz too.
func TestGzipIsStrict(t *testing.T) {
	good := tarOf(t, someFiles())
	stored := le.AppendUint16(le.AppendUint16([]byte{0}, uint16(len(good))), ^uint16(len(good)))
	for _, last := range []string{noDistances, staleDistances} {
		file := tartest.Join(gzipHeader[:], stored, good, []byte(last), make([]byte, 8))
		if got := rejected(t, file, roomy, ErrInvalid); !strings.Contains(got, "can't be decoded") {
			t.Error(got)
		}
	}
}
