package archive

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"tecken-upload/internal/archive/fault"
)

// maxPadding bounds the zeros between two members, which align the next one's data to a page.
const maxPadding = 64 << 10

// listZip reads and checks the whole listing of a zip, without inflating a member.
func (a *Archive) listZip(ctx context.Context) error {
	dir, err := a.findDirectory(ctx)
	if err != nil {
		return err
	}
	if a.entries, err = a.readDirectory(ctx, dir); err != nil {
		return err
	}
	a.members = membersOf(a.entries)
	if err := checkNotEmpty(a.members, len(a.entries)); err != nil {
		return err
	}
	for _, m := range a.entries {
		a.Declared += m.Size
		if err := a.readLocal(ctx, m, int64(dir.offset)); err != nil {
			return err
		}
	}
	return a.checkLayout(ctx, int64(dir.offset))
}

// readLocal reads the local header of m, finds its data before limit, and returns an error if header or data descriptor differ from the
// central directory, since other readers may believe them.
func (a *Archive) readLocal(ctx context.Context, m *Member, limit int64) error {
	z := &m.zip
	outside := func() error {
		return fault.Invalid("The member %s is not where the zip's central directory says", fault.Quote(m.sent))
	}
	if z.header > limit-localSize {
		return outside()
	}
	var rec [localSize]byte
	if err := a.read(ctx, rec[:], z.header); err != nil {
		return err
	}
	nameLen, extraLen := int64(le.Uint16(rec[26:])), int64(le.Uint16(rec[28:]))
	z.data = z.header + localSize + nameLen + extraLen
	if le.Uint32(rec[:]) != localSig || z.data > limit || z.size > limit-z.data {
		return outside()
	}
	rest := make([]byte, nameLen+extraLen)
	if err := a.read(ctx, rest, z.header+localSize); err != nil {
		return err
	}
	extra, err := readExtra(m.sent, rest[nameLen:])
	if err != nil {
		return err
	}
	if string(rest[:nameLen]) != m.sent || !m.matches(rec[:], extra) {
		return fault.Invalid("The local header of member %s contradicts the zip's central directory", fault.Quote(m.sent))
	}
	z.end = z.data + z.size
	if le.Uint16(rec[6:])&flagDescriptor == 0 {
		return nil
	}
	desc := make([]byte, min(24, limit-z.end))
	if err := a.read(ctx, desc, z.end); err != nil {
		return err
	}
	n := m.descriptorLen(desc, extra.wide)
	if n == 0 {
		return fault.Invalid("The data descriptor of member %s contradicts the zip's central directory", fault.Quote(m.sent))
	}
	z.end += n
	return nil
}

// matches reports whether a local header agrees with the central directory. Before a data descriptor, values unknown to the writer may be
// 0.
func (m *Member) matches(rec []byte, extra zipExtra) bool {
	flags, method := le.Uint16(rec[6:]), le.Uint16(rec[8:])
	differ := flags ^ m.zip.flags
	if method != m.zip.method || rec[4] > maxVersion || differ&flagDescriptor != 0 || flags&(flagEncrypted|flagPatch) != 0 {
		return false
	}
	if differ&flagUTF8 != 0 && !isASCII(m.sent) {
		return false
	}
	crc, data, size := le.Uint32(rec[14:]), uint64(le.Uint32(rec[18:])), uint64(le.Uint32(rec[22:]))
	if !extra.widen(&size, &data) {
		return false
	}
	known := func(got, want uint64) bool { return got == want || flags&flagDescriptor != 0 && got == 0 }
	return known(uint64(crc), uint64(m.crc)) && known(data, uint64(m.zip.size)) && known(size, uint64(m.Size))
}

// descriptorLen returns the length of the data descriptor that desc starts with, or 0 where none of its forms agrees with the central directory.
// It may lack its signature where the deflate stream says where the data end. Its sizes have 64 bits where the local header has a zip64 field,
// which is what wide says; some writers leave that field out.
func (m *Member) descriptorLen(desc []byte, wide bool) int64 {
	wide = wide || m.zip.size >= max32 || m.Size >= max32
	bare := le.AppendUint32(nil, m.crc)
	for _, n := range []int64{m.zip.size, m.Size} {
		if wide {
			bare = le.AppendUint64(bare, uint64(n))
		} else {
			bare = le.AppendUint32(bare, uint32(n))
		}
	}
	signed := append(le.AppendUint32(nil, descriptorSig), bare...)
	switch {
	case bytes.HasPrefix(desc, signed):
		return int64(len(signed))
	case m.zip.method == methodDeflated && bytes.HasPrefix(desc, bare):
		return int64(len(bare))
	}
	return 0
}

// checkLayout makes sure that every byte before the central directory belongs to one entry. Two that share bytes are how a few
// megabytes come to declare terabytes; in bytes that belong to none, a reader of the file from its start finds another member.
func (a *Archive) checkLayout(ctx context.Context, directory int64) error {
	sorted := slices.SortedFunc(slices.Values(a.entries), func(x, y *Member) int { return cmp.Compare(x.zip.header, y.zip.header) })
	at, err := a.skipMark(ctx)
	if err != nil {
		return err
	}
	for i, m := range sorted {
		if m.zip.header < at {
			return fault.Invalid("The members %s and %s overlap", fault.Quote(sorted[i-1].sent), fault.Quote(m.sent))
		}
		if err := a.checkPadding(ctx, at, m.zip.header); err != nil {
			return err
		}
		at = m.zip.end
	}
	return a.checkPadding(ctx, at, directory)
}

// checkPadding returns an error unless there are only a few zeros between two offsets.
func (a *Archive) checkPadding(ctx context.Context, from, to int64) error {
	if from == to {
		return nil
	}
	padding := make([]byte, min(to-from, maxPadding+1))
	if err := a.read(ctx, padding, from); err != nil {
		return err
	}
	if len(padding) > maxPadding || len(bytes.Trim(padding, "\x00")) > 0 {
		return fault.Invalid("The zip has %d bytes at %d that belong to no member", to-from, from)
	}
	return nil
}
