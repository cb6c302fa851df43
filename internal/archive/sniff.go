package archive

import (
	"bytes"
	"context"
	"io"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/archive/tarcheck"
)

const supported = "zip, tar, tar.gz, tar.bz2, tar.xz and tar.zst are supported"

// A format is a kind of container.
type format struct {
	name        string
	compression *compression // nil for a zip and for a plain tar
}

// sniff recognises an archive's format by its first bytes. Names mean nothing, and libraries that guess by them or by weaker magic take
// executables for archives.
func sniff(ctx context.Context, f io.ReaderAt, size int64) (format, error) {
	if size <= 0 {
		return format{}, fault.Invalid("The file is empty; %s", supported)
	}
	head := make([]byte, min(size, tarcheck.BlockSize))
	if _, err := io.ReadFull(newSource(ctx, f, 0, int64(len(head))), head); err != nil {
		return format{}, err
	}
	has := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case has("PK\x03\x04"), has("PK\x05\x06"), has(splitMark + "PK\x03\x04"), has(oneDiskMark + "PK\x03\x04"):
		return format{name: "zip"}, nil
	case has("\x1f\x8b\x08"):
		return format{"tar.gz", compressedGzip}, nil
	case has("BZh") && len(head) > 3 && '1' <= head[3] && head[3] <= '9':
		return format{"tar.bz2", compressedBzip2}, nil
	case has("\xfd7zXZ\x00"):
		return format{"tar.xz", compressedXz}, nil
	case has("\x28\xb5\x2f\xfd"), len(head) > 3 && head[0]>>4 == 5 && string(head[1:4]) == "\x2a\x4d\x18":
		// The second is a skippable frame, with which parallel compressors start.
		return format{"tar.zst", compressedZstd}, nil
	case tarcheck.IsHeader(head):
		return format{name: "tar"}, nil
	}
	if err := lastVolume(ctx, f, size); err != nil {
		return format{}, err
	}
	return format{}, foreign(head)
}

// foreign says what a file is that is none of ours.
func foreign(head []byte) error {
	for _, k := range []struct{ magic, kind string }{
		{"7z\xbc\xaf\x27\x1c", "7z"}, {"Rar!\x1a\x07", "rar"}, {"MSCF", "cab"}, {"LZIP", "lzip"},
		{"\x04\x22\x4d\x18", "lz4"}, {"\x1f\x9d", "compress (.Z)"}, {"\x5d\x00\x00", "lzma"},
		{"!<arch>\n", "ar"}, {"0707", "cpio"},
	} {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return fault.Invalid("%s archives are not supported; %s", k.kind, supported)
		}
	}
	text := bytes.ToLower(bytes.TrimLeft(head, "\xef\xbb\xbf \t\r\n"))
	for _, k := range []struct{ magic, kind string }{
		{"MODULE ", "a single symbol file"}, {"Microsoft C/C++ MSF", "a PDB file"}, {"MZ", "a Windows executable"},
		{"\x7fELF", "an ELF file"}, {"\xcf\xfa\xed\xfe", "a Mach-O file"}, {"\xca\xfe\xba\xbe", "a Mach-O file"},
		{"<!doctype html", "an HTML page"}, {"<html", "an HTML page"}, {"<?xml", "an XML file"},
	} {
		if bytes.HasPrefix(head, []byte(k.magic)) || bytes.HasPrefix(text, []byte(k.magic)) {
			return fault.Invalid("The file is not an archive but %s; %s", k.kind, supported)
		}
	}
	return fault.Invalid("The file is not an archive; %s", supported)
}
