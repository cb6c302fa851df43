package archive

import (
	"bytes"
	"cmp"
	"context"
	"slices"
)

// listZip reads and checks everything a zip says about its members, without inflating one.
func (a *Archive) listZip(ctx context.Context) error {
	dir, err := a.findDirectory(ctx)
	if err != nil {
		return err
	}
	if a.members, err = a.readDirectory(ctx, dir); err != nil {
		return err
	}
	if err := checkNotEmpty(a.members); err != nil {
		return err
	}
	for _, m := range a.members {
		if err := a.readLocal(ctx, m, int64(dir.offset)); err != nil {
			return err
		}
	}
	return checkOverlap(a.members)
}

// readLocal reads the local header of m, finds its data before limit, and makes sure that header and
// data descriptor say what the central directory says: other readers may believe them.
func (a *Archive) readLocal(ctx context.Context, m *Member, limit int64) error {
	z := &m.zip
	outside := invalid("The member %s is not where the zip's central directory says", quote(m.Name))
	if z.header > limit-localSize {
		return outside
	}
	var rec [localSize]byte
	if err := a.read(ctx, rec[:], z.header); err != nil {
		return err
	}
	nameLen, extraLen := int64(le.Uint16(rec[26:])), int64(le.Uint16(rec[28:]))
	z.data = z.header + localSize + nameLen + extraLen
	if le.Uint32(rec[:]) != localSig || z.data > limit || z.size > limit-z.data {
		return outside
	}
	rest := make([]byte, nameLen+extraLen)
	if err := a.read(ctx, rest, z.header+localSize); err != nil {
		return err
	}
	if !m.matches(rec[:], string(rest[:nameLen]), rest[nameLen:]) {
		return invalid("The local header of member %s contradicts the zip's central directory", quote(m.Name))
	}
	z.end = z.data + z.size
	if le.Uint16(rec[6:])&flagDescriptor == 0 {
		return nil
	}
	desc := make([]byte, min(24, limit-z.end))
	if err := a.read(ctx, desc, z.end); err != nil {
		return err
	}
	n := m.descriptorLen(desc)
	if n == 0 {
		return invalid("The data descriptor of member %s contradicts the zip's central directory", quote(m.Name))
	}
	z.end += n
	return nil
}

// matches reports whether a local header agrees with the central directory. With a data descriptor to
// follow, any value may be left out, as 0 or as all ones, that the writer did not know yet.
func (m *Member) matches(rec []byte, name string, extra []byte) bool {
	flags, method := le.Uint16(rec[6:]), le.Uint16(rec[8:])
	if name != m.Name || method != m.zip.method || (flags^m.zip.flags)&flagDescriptor != 0 || flags&(flagEncrypted|flagPatch) != 0 {
		return false
	}
	crc, data, size := le.Uint32(rec[14:]), uint64(le.Uint32(rec[18:])), uint64(le.Uint32(rec[22:]))
	if !widen(extra, &size, &data) {
		return false
	}
	known := func(got, want uint64) bool {
		return got == want || flags&flagDescriptor != 0 && (got == 0 || got == max32)
	}
	return known(uint64(crc), uint64(m.crc)) && known(data, uint64(m.zip.size)) && known(size, uint64(m.Size))
}

// descriptorLen returns the length of the data descriptor that desc starts with, or 0 where none of the
// four forms (with or without signature, sizes in 32 or 64 bits) agrees with the central directory.
func (m *Member) descriptorLen(desc []byte) int64 {
	sizes := func(b []byte, wide bool) []byte {
		for _, n := range []int64{m.zip.size, m.Size} {
			if wide {
				b = le.AppendUint64(b, uint64(n))
			} else {
				b = le.AppendUint32(b, uint32(n))
			}
		}
		return b
	}
	for _, wide := range []bool{true, false} {
		bare := sizes(le.AppendUint32(nil, m.crc), wide)
		signed := append(le.AppendUint32(nil, descriptorSig), bare...)
		for _, form := range [][]byte{signed, bare} {
			if bytes.HasPrefix(desc, form) {
				return int64(len(form))
			}
		}
	}
	return 0
}

// checkOverlap makes sure that no two members share a byte, which is how a few megabytes come to declare
// terabytes.
func checkOverlap(members []*Member) error {
	sorted := slices.SortedFunc(slices.Values(members), func(x, y *Member) int { return cmp.Compare(x.zip.header, y.zip.header) })
	for i, m := range sorted[1:] {
		if before := sorted[i]; m.zip.header < before.zip.end {
			return invalid("The members %s and %s overlap", quote(before.Name), quote(m.Name))
		}
	}
	return nil
}
