package archive

import (
	"bytes"
	"context"
	"io"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/archive/tarball"
	"tecken-upload/internal/archive/tarcheck"
)

const supported = "zip, tar, tar.gz, tar.bz2, tar.xz and tar.zst are supported"

// sniff tells the format of an archive by its first bytes: a kind of tar, or nil for a zip. Names are not asked: they say nothing, and
// libraries that guess by them or by weaker magic take executables for archives.
func sniff(ctx context.Context, f io.ReaderAt, size int64) (*tarball.Tar, error) {
	if size <= 0 {
		return nil, fault.Invalid("The file is empty; %s", supported)
	}
	head := make([]byte, min(size, tarcheck.BlockSize))
	if _, err := io.ReadFull(newSource(ctx, f, 0, int64(len(head))), head); err != nil {
		return nil, err
	}
	for _, magic := range []string{"PK\x03\x04", "PK\x05\x06", splitMark + "PK\x03\x04", oneDiskMark + "PK\x03\x04"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return nil, nil
		}
	}
	if kind := tarball.Sniff(head); kind != nil {
		return kind, nil
	}
	if err := lastVolume(ctx, f, size); err != nil {
		return nil, err
	}
	return nil, foreign(head)
}

// foreign returns an error that names what the file is.
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
