// Package tarball reads a tar, alone or compressed with gzip, bzip2, xz or zstd, from its start to its end.
//
// A hostile file costs the archive, not the process: a panic of a decoder is a fault of the file, a decoder that gives nothing for ever is
// stopped, and bytes are counted as they come. The memory of a decoder is known before it is taken, and bounded: up to 128 MiB for the
// window of zstd, 64 MiB for that of xz. Faults are those of package fault.
//
// Tars are v7, ustar, pax and GNU, ended by two blocks of zeros, so that one cut short at a member's end is noticed.
package tarball

import (
	"archive/tar"
	"bytes"
	"context"
	"io"

	"tecken-upload/internal/archive/tarcheck"
)

// What a tar may hold beside its members' content, in bytes: headers, long names, padding.
const (
	extraPerMember = 4 << 10
	extraAtEnd     = 2 << 20 // the padding alone may be 1 MiB, with the largest record size in use
)

// Each is called for a member, with its content. That may be left unread.
type Each func(h *tar.Header, content io.Reader) error

// A Tar is a kind of tar in a file. It is not for concurrent use.
type Tar struct {
	Name        string // "tar", "tar.gz", "tar.bz2", "tar.xz" or "tar.zst"
	compression *compression
	window      int64 // of the decoder, in bytes
	extra       int64 // bytes it may hold beside its members' content
}

// Sniff tells by the first bytes of a file, up to a block, which kind of tar it is; nil: it is none.
func Sniff(head []byte) *Tar {
	has := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case has("\x1f\x8b\x08"):
		return &Tar{Name: "tar.gz", compression: compressedGzip}
	case has("BZh") && len(head) > 3 && '1' <= head[3] && head[3] <= '9':
		return &Tar{Name: "tar.bz2", compression: compressedBzip2}
	case has("\xfd7zXZ\x00"):
		return &Tar{Name: "tar.xz", compression: compressedXz}
	case has("\x28\xb5\x2f\xfd"), len(head) > 3 && head[0]>>4 == 5 && string(head[1:4]) == "\x2a\x4d\x18":
		// The second is a skippable frame, with which parallel compressors start.
		return &Tar{Name: "tar.zst", compression: compressedZstd}
	case tarcheck.IsHeader(head):
		return &Tar{Name: "tar"}
	}
	return nil
}

// Open looks at the beginning of file for what memory reading it takes. It may have so many members.
func (t *Tar) Open(file io.ReadSeeker, members int) error {
	t.extra = int64(members)*extraPerMember + extraAtEnd
	return t.chooseWindow(file)
}

// Compressed reports whether a member that is passed over has to be inflated all the same.
func (t *Tar) Compressed() bool { return t.compression != nil }

// Verify calls each for every member of the tar in file, which is at its start. It checks every block, and makes sure that the tar ends
// as it should and that nothing follows. It returns each's error as it is; [ErrMoreMemory] asks for another Verify.
func (t *Tar) Verify(ctx context.Context, file io.ReadSeeker, each Each) error {
	return t.run(ctx, file, new(tarcheck.Checker), each)
}

// Again calls each for every member of a tar that Verify found good.
func (t *Tar) Again(ctx context.Context, file io.ReadSeeker, each Each) error {
	return t.run(ctx, file, nil, each)
}

// IsRegular reports whether a member has content of its own.
func IsRegular(h *tar.Header) bool {
	return h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse
}
