// Package tartest makes tars block by block, for tests: unusual and malformed ones too.
package tartest

import (
	"bytes"
	"fmt"
	"strconv"

	"tecken-upload/internal/archive/tarcheck"
)

// Header returns the header of a member of that name and type. size is its field.
func Header(name string, kind byte, size string) []byte {
	b := make([]byte, tarcheck.BlockSize)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00"+size)
	copy(b[136:], "00000000000\x00")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	return Seal(b)
}

// Seal sets the checksum of the header b, and returns b.
func Seal(b []byte) []byte {
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b[:tarcheck.BlockSize] {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// OldSparse returns the header of a GNU sparse file of 4 KiB that are one hole.
func OldSparse(name string) []byte {
	b := Header(name, 'S', Octal(0))
	copy(b[257:], "ustar  \x00")
	copy(b[386:], Octal(4096)+Octal(0))
	copy(b[483:], Octal(4096))
	return Seal(b)
}

// Octal returns a field of a number.
func Octal(n int) string { return fmt.Sprintf("%011o\x00", n) }

// Padded fills s up to a whole number of blocks.
func Padded(s string) []byte {
	return append([]byte(s), make([]byte, -len(s)&(tarcheck.BlockSize-1))...)
}

// Join returns its parts as one.
func Join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// End is the end of a tar.
var End = make([]byte, 2*tarcheck.BlockSize)

// Extended returns an extended header with these records, "key=value".
func Extended(kind byte, records ...string) []byte {
	var text string
	for _, r := range records {
		n := len(r) + 3
		for n != len(r)+2+len(strconv.Itoa(n)) {
			n = len(r) + 2 + len(strconv.Itoa(n))
		}
		text += fmt.Sprintf("%d %s\n", n, r)
	}
	return ExtendedRaw(kind, text)
}

// ExtendedRaw returns an extended header with that text.
func ExtendedRaw(kind byte, text string) []byte {
	return Join(Header("header", kind, Octal(len(text))), Padded(text))
}

// File returns a member with content.
func File(name, content string) []byte {
	return Join(Header(name, '0', Octal(len(content))), Padded(content))
}

// HardLink returns a hard link to target.
func HardLink(name, target string) []byte {
	b := Header(name, '1', Octal(0))
	copy(b[157:], target)
	return Seal(b)
}

// Changed puts text into the header b, sets its checksum, and returns b.
func Changed(b []byte, at int, text string) []byte {
	copy(b[at:], text)
	return Seal(b)
}

// PaxSparse returns the extended header of a sparse file in version 1.0, of size bytes.
func PaxSparse(size int) []byte {
	return Extended('x', "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=a/A/a.sym", "GNU.sparse.realsize="+strconv.Itoa(size))
}

// Sparse returns a sparse file in version 1.0: 5 bytes, a hole of 4.
func Sparse() []byte {
	return Join(PaxSparse(9), File("GNUSparseFile.0/a.sym", string(Padded("2\n0\n5\n9\n0\n"))+"12345"))
}
