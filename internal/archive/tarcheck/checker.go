// Package tarcheck checks the blocks of a tar as they pass by, beside archive/tar, which does not report what it passes over: what two
// common readers take for different names or bytes is refused.
//
// Formats: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html and
// https://www.gnu.org/software/tar/manual/html_node/Tar-Internals.html
package tarcheck

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/binary"
	"strings"

	"tecken-upload/internal/archive/fault"
)

// BlockSize is the size of a tar's blocks, in bytes.
const BlockSize = 512

// Types of headers that archive/tar does not name.
const (
	typeOldRegular = 0
	typeLabel      = 'V' // of a volume, by GNU
)

const (
	// maxExtended bounds the content of an extended header, in bytes, as archive/tar does.
	maxExtended = 1 << 20
	// pixzIndex begins the index of a tar.xz made by pixz. https://github.com/vasi/pixz
	pixzIndex = 0xdbae14d62e324ca6
)

// A Checker checks one tar; its zero value is ready. Errors are those of package fault. It is not for concurrent use.
type Checker struct {
	part  []byte // the next part so far
	want  int    // bytes of that part; 0: a block
	skip  int64  // bytes before it: content of a member, padding
	take  func(part []byte) error
	zeros int       // blocks of zeros that ended the tar
	last  string    // the name of the last member
	late  bool      // a global header came after it
	next  extension // what is said of the next one
}

// A extension is what extended headers say of the member that follows them.
type extension struct {
	pax                *paxHeader // nil: none
	longName, longLink string
}

// Ended reports whether the tar came to its end.
func (c *Checker) Ended() bool { return c.zeros == 2 }

// Check takes the next bytes of the tar.
func (c *Checker) Check(b []byte) error {
	for len(b) > 0 {
		if c.Ended() {
			return checkTail(b)
		}
		if n := min(c.skip, int64(len(b))); n > 0 {
			b, c.skip = b[n:], c.skip-n
			continue
		}
		want := BlockSize
		if c.want > 0 {
			want = c.want
		}
		n := min(want-len(c.part), len(b))
		c.part, b = append(c.part, b[:n]...), b[n:]
		if len(c.part) < want {
			return nil
		}
		take := c.take
		if take == nil {
			take = c.header
		}
		part := c.part
		c.part, c.want, c.take = nil, 0, nil
		if err := take(part); err != nil {
			return err
		}
		c.part = part[:0]
	}
	return nil
}

// checkTail returns an error if anything but zeros follows the tar's end.
func checkTail(b []byte) error {
	rest := bytes.TrimLeft(b, "\x00")
	switch {
	case len(rest) == 0:
		return nil
	case len(rest) >= 8 && binary.LittleEndian.Uint64(rest) == pixzIndex:
		return fault.Invalid("The index of pixz follows the end of the tar; compress it with pixz -t, or with xz")
	}
	return fault.Invalid("Something follows the end of the tar")
}

// header reads a header of 512 bytes.
func (c *Checker) header(b []byte) error {
	switch {
	case len(bytes.Trim(b, "\x00")) == 0:
		if c.zeros++; c.Ended() && (c.next.any() || c.late) {
			return fault.Invalid("The tar ends with an extended header that belongs to no member")
		}
		return nil
	case c.zeros > 0:
		return fault.Invalid("The tar has a block of zeros in front of another header; it was damaged, or put together from several")
	case !hasChecksum(b):
		return fault.Invalid("The tar has a header with a wrong checksum, after %s", c.place())
	case !checkNumbers(b):
		return fault.Invalid("The tar has a header with a damaged number, after %s", c.place())
	}
	kind := b[156]
	switch kind {
	case tar.TypeXHeader, tar.TypeXGlobalHeader, tar.TypeGNULongName, tar.TypeGNULongLink:
	default:
		return c.member(kind, b)
	}
	size, ok := number(b[124:136])
	switch {
	case !ok || size == 0 || size > maxExtended:
		return fault.Invalid("The tar has an extended header without a proper size, after %s; it has 1 to %d bytes", c.place(), maxExtended)
	case kind == tar.TypeXGlobalHeader && c.next.any():
		return fault.Invalid("The tar has a global header between an extended header and its member, after %s", c.place())
	}
	c.want = int(size)
	c.take = func(content []byte) error {
		c.skip = padding(size)
		return c.extended(kind, content)
	}
	return nil
}

// place says where a header without a name of its own is.
func (c *Checker) place() string {
	if c.last == "" {
		return "its start"
	}
	return "the member " + fault.Quote(c.last)
}

func (x *extension) any() bool { return x.pax != nil || x.longName != "" || x.longLink != "" }

// extended reads the content of an extended header.
func (c *Checker) extended(kind byte, content []byte) error {
	twice := fault.Invalid("The tar has two extended headers of one kind for the member after %s", c.place())
	switch kind {
	case tar.TypeXHeader, tar.TypeXGlobalHeader:
		h, err := readPax(content)
		switch {
		case err != nil:
			return err
		case kind == tar.TypeXGlobalHeader:
			c.late = true
			return h.checkGlobal()
		case c.next.pax != nil:
			return twice
		}
		c.next.pax = h
		return nil
	}
	name := &c.next.longName
	if kind == tar.TypeGNULongLink {
		name = &c.next.longLink
	}
	if *name != "" {
		return twice
	}
	if *name = cString(content); *name == "" {
		return fault.Invalid("The tar has an empty long name for the member after %s", c.place())
	}
	return nil
}

// member reads the header of a member, or of another entry.
func (c *Checker) member(kind byte, b []byte) error {
	said := c.next
	c.next, c.late = extension{}, false
	name, err := nameOf(kind, b, said)
	if err != nil {
		return err
	}
	c.last = name
	if kind == typeLabel && said.any() || kind == tar.TypeGNUSparse && said.pax != nil {
		return fault.Invalid("The tar has an extended header for %s, which is of a kind that has none", fault.Quote(name))
	}
	size, ok := number(b[124:136])
	if !ok {
		return fault.Invalid("The size of member %s is damaged", fault.Quote(name))
	}
	bare := tar.TypeLink <= kind && kind <= tar.TypeFifo || kind == typeLabel || kind == typeOldRegular && strings.HasSuffix(name, "/")
	if kind == tar.TypeDir {
		size = 0 // no reader uses it
	}
	if said.pax != nil {
		if err := said.pax.check(name, kind, said.longLink); err != nil {
			return err
		}
		if n, ok := decimal(said.pax.records["size"]); ok {
			size = n
		}
	}
	if bare && size != 0 {
		return fault.Invalid("The member %s has a size of %d bytes, but is of a kind that has no content", fault.Quote(name), size)
	}
	c.skip = size + padding(size)
	switch {
	case kind == tar.TypeGNUSparse:
		return c.oldMap(name, b)
	case said.pax != nil && said.pax.hasMap() && !isUstar(b):
		return fault.Invalid("The member %s is a sparse file in a format that not all readers know", fault.Quote(name))
	case said.pax != nil:
		return c.paxMap(name, said.pax)
	}
	return nil
}

// isUstar reports whether a header is POSIX's.
func isUstar(b []byte) bool { return string(b[257:263]) == "ustar\x00" }

// checkNumbers checks the unimportant numbers of a header, since readers refuse it for them. They may be blank.
func checkNumbers(b []byte) bool {
	for _, field := range [][]byte{b[100:108], b[108:116], b[116:124], b[136:148], b[329:337], b[337:345]} {
		_, ok := number(field)
		if blank := len(bytes.Trim(field, " \x00")) == 0; !ok && !blank && field[0] != 0xff {
			return false
		}
	}
	return true
}

// nameOf returns the name of a member, which its headers say alike to all readers.
func nameOf(kind byte, b []byte, said extension) (string, error) {
	name := cString(b[:100])
	prefix := cString(b[345:500])
	const starPrefix = 130 // bytes, in a header of star, recognised by its last bytes
	tooLong := string(b[508:]) == "tar\x00" && len(prefix) > starPrefix
	ustar := isUstar(b) && !tooLong
	path := ""
	if said.pax != nil {
		path = cmp.Or(said.pax.records[sparsePrefix+"name"], said.pax.records["path"])
	}
	switch {
	case kind == typeOldRegular && strings.HasSuffix(name, "/") && path+said.longName != "" && !strings.HasSuffix(path+said.longName, "/"):
		return "", fault.Invalid("The member %s is a directory by the name in its own header", fault.Quote(path+said.longName))
	case kind != tar.TypeGNUSparse && string(b[257:265]) == "ustar  \x00" && len(bytes.Trim(b[386:495], "\x00")) > 0:
		return "", fault.Invalid("The header of member %s lists holes, and is that of a file without any; make the tar with --format=posix", fault.Quote(name))
	case path != "" && said.longName != "" && path != said.longName:
		return "", fault.Invalid("The tar has two names for one member, %s and %s", fault.Quote(path), fault.Quote(said.longName))
	case path != "":
		return path, nil
	case said.longName != "":
		return said.longName, nil
	case prefix != "" && !ustar && kind != tar.TypeGNUSparse:
		return "", fault.Invalid("The header of member %s has more than its format allows, where some readers find a part of the name; make the tar with --format=posix, and without --incremental", fault.Quote(name))
	case prefix != "" && ustar:
		return prefix + "/" + name, nil
	}
	return name, nil
}

// number reads a field of a header as all readers do: octal digits behind spaces, and spaces or zeros at the end; a positive
// number in base 256; or nothing but zeros.
func number(field []byte) (n int64, ok bool) {
	if field[0] == 0x80 {
		for _, b := range field[1:] {
			if n > 1<<(63-8)-1 {
				return 0, false
			}
			n = n<<8 | int64(b)
		}
		return n, true
	}
	if len(bytes.Trim(field, "\x00")) == 0 {
		return 0, true
	}
	digits := bytes.TrimRight(bytes.TrimLeft(field, " "), " \x00")
	for _, b := range digits {
		if b < '0' || b > '7' {
			return 0, false
		}
		n = n<<3 | int64(b-'0')
	}
	return n, len(digits) > 0
}

// padding is the number of bytes after a content of n bytes up to the next block.
func padding(n int64) int64 { return -n & (BlockSize - 1) }

// cString returns the bytes before the first zero byte.
func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// IsHeader reports whether block begins with a header of a tar: by the magic of POSIX and GNU, or by the checksum, which
// is all that a v7 header has.
func IsHeader(block []byte) bool {
	return len(block) >= BlockSize && (string(block[257:262]) == "ustar" || hasChecksum(block))
}

// hasChecksum reports whether a tar header's checksum matches; some writers summed signed bytes.
func hasChecksum(header []byte) bool {
	var unsigned, signed int64
	for i, b := range header[:BlockSize] {
		if 148 <= i && i < 156 {
			b = ' ' // the checksum's own field counts as spaces
		}
		unsigned += int64(b)
		signed += int64(int8(b))
	}
	sum, ok := number(header[148:156])
	return ok && header[148] < 0x80 && (sum == unsigned || sum == signed)
}
