package archive

import (
	"bytes"
	"math"

	"tecken-upload/internal/archive/fault"
)

// Tags of extra fields. APPNOTE.TXT, sections 4.5.3 and 4.6.9.
const (
	tagZip64       = 1
	tagUnicodePath = 0x7075
)

// zipExtra is the relevant content of a record's extra fields.
type zipExtra struct {
	wide  bool   // there is a zip64 field
	zip64 []byte // its unread rest
}

// readExtra reads the extra fields of the record of the member of that name. Zeros may follow the last one, for alignment.
func readExtra(name string, fields []byte) (zipExtra, error) {
	var x zipExtra
	damaged := func() error { return fault.Invalid("The extra fields of member %s are damaged", fault.Quote(name)) }
	path := false
	for len(fields) >= 4 {
		tag, n := le.Uint16(fields), int(le.Uint16(fields[2:]))
		if fields = fields[4:]; n > len(fields) {
			return x, damaged()
		}
		field := fields[:n:n]
		fields = fields[n:]
		switch {
		case tag == tagZip64 && x.wide, tag == tagUnicodePath && path:
			return x, damaged()
		case tag == tagZip64:
			x.wide, x.zip64 = true, field
		case tag == tagUnicodePath:
			if path = true; !isNamed(field, name) {
				return x, fault.Invalid("The member %s has another name in its Unicode path field; make the zip with names in UTF-8, or a tar", fault.Quote(name))
			}
		}
	}
	if len(bytes.Trim(fields, "\x00")) > 0 {
		return x, damaged()
	}
	return x, nil
}

// isNamed reports whether a Unicode path field has that name, after a version and the CRC-32 of the other name, which not all readers
// check.
func isNamed(field []byte, name string) bool { return len(field) >= 5 && string(field[5:]) == name }

// widen replaces values that are as large as 32 bits can be by those of the zip64 field, if there is one. It reports whether that has
// enough of them, each fit for an int64.
func (x *zipExtra) widen(values ...*uint64) bool {
	for _, v := range values {
		if *v != max32 || !x.wide {
			continue
		}
		if len(x.zip64) < 8 || le.Uint64(x.zip64) > math.MaxInt64 {
			return false
		}
		*v, x.zip64 = le.Uint64(x.zip64), x.zip64[8:]
	}
	return true
}

// firstDisk reports whether the zip64 field ends, after the values that widen took, with the number of the first disk.
func (x *zipExtra) firstDisk() bool { return len(x.zip64) >= 4 && le.Uint32(x.zip64) == 0 }
