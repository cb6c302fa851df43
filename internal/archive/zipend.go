package archive

import (
	"bytes"
	"cmp"
	"context"
	"io"

	"tecken-upload/internal/archive/fault"
)

// A directory is the location of a zip's central directory.
type directory struct {
	count, offset, size uint64
}

// findDirectory reads the end record at the file's end, with its zip64 counterpart if there is one. The directory must end exactly where
// the first of them starts.
func (a *Archive) findDirectory(ctx context.Context) (directory, error) {
	tail := make([]byte, min(a.size, endSize+max16))
	start := a.size - int64(len(tail))
	if err := a.read(ctx, tail, start); err != nil {
		return directory{}, err
	}
	i, another := findEnd(tail)
	if i < 0 {
		if mark, err := a.skipMark(ctx); err != nil || mark > 0 {
			return directory{}, cmp.Or(err, splitZip())
		}
		return directory{}, fault.Invalid("The zip does not end with its end record: it was cut short, or something follows it")
	}
	end := start + int64(i)
	if another >= 0 {
		return directory{}, fault.Invalid("The zip has two end records, at %d and at %d", end, start+int64(another))
	}
	rec := tail[i:]
	d := directory{uint64(le.Uint16(rec[10:])), uint64(le.Uint32(rec[16:])), uint64(le.Uint32(rec[12:]))}
	disk, dirDisk, here := le.Uint16(rec[4:]), le.Uint16(rec[6:]), le.Uint16(rec[8:])
	d64, end64, err := a.findDirectory64(ctx, end)
	switch {
	case err != nil:
		return directory{}, err
	case end64 < end:
		if !continues(d.count, d64.count, max16) || !continues(d.offset, d64.offset, max32) || !continues(d.size, d64.size, max32) ||
			!continues(uint64(here), d64.count, max16) || !continues(uint64(disk), 0, max16) || !continues(uint64(dirDisk), 0, max16) {
			return directory{}, fault.Invalid("The zip's end record contradicts its zip64 end record")
		}
		d, end = d64, end64
	case disk != 0 || dirDisk != 0 || uint64(here) != d.count:
		return directory{}, splitZip()
	}
	if d.offset > uint64(end) || d.size != uint64(end)-d.offset {
		return directory{}, fault.Invalid("The zip's central directory is not where its end record says")
	}
	return d, nil
}

// findEnd returns the offsets in tail of the end record, and of another one that a reader may take for it; -1 stands for neither. The
// comment of an end record reaches to the file's end. Only without such a record may zeros follow one, as bsdtar writes them to a pipe.
func findEnd(tail []byte) (at, another int) {
	signature := le.AppendUint32(nil, endSig)
	at, another = -1, -1
	for _, padded := range []bool{false, true} {
		for i := len(tail) - endSize; i >= 0; i-- {
			if !bytes.HasPrefix(tail[i:], signature) {
				continue
			}
			rest := tail[i+endSize:]
			comment := int(le.Uint16(tail[i+20:]))
			switch ends := comment == len(rest) || padded && comment < len(rest) && len(bytes.Trim(rest[comment:], "\x00")) == 0; {
			case ends && at < 0:
				at = i
			case ends:
				another = i
			}
		}
		if at >= 0 {
			break
		}
	}
	if last := bytes.LastIndex(tail, signature); at >= 0 && last > at {
		another = last
	}
	return at, another
}

// continues reports whether a value of an end record agrees with its zip64 counterpart: it is equal, or as large as can be.
func continues(v, v64, most uint64) bool { return v == v64 || v == most }

// findDirectory64 reads the zip64 end record before end, and returns its offset; without one, that is end.
func (a *Archive) findDirectory64(ctx context.Context, end int64) (directory, int64, error) {
	if end < locatorSize {
		return directory{}, end, nil
	}
	var loc [locatorSize]byte
	if err := a.read(ctx, loc[:], end-locatorSize); err != nil {
		return directory{}, 0, err
	}
	if le.Uint32(loc[:]) != locatorSig {
		return directory{}, end, nil
	}
	// Some readers use the locator's offset, others look before the locator: both must be the same.
	off := end - locatorSize - end64Size
	if off < 0 || le.Uint64(loc[8:]) != uint64(off) {
		return directory{}, 0, fault.Invalid("The zip64 end record is not right before its locator")
	}
	var rec [end64Size]byte
	if err := a.read(ctx, rec[:], off); err != nil {
		return directory{}, 0, err
	}
	if le.Uint32(rec[:]) != end64Sig || le.Uint64(rec[4:]) != end64Size-12 {
		return directory{}, 0, fault.Invalid("The zip64 end record is not right before its locator")
	}
	d := directory{le.Uint64(rec[32:]), le.Uint64(rec[48:]), le.Uint64(rec[40:])}
	if le.Uint32(rec[16:]) != 0 || le.Uint32(rec[20:]) != 0 || le.Uint64(rec[24:]) != d.count || le.Uint32(loc[4:]) != 0 || le.Uint32(loc[16:]) != 1 {
		return directory{}, 0, splitZip()
	}
	return d, off, nil
}

// Marks before the first member of an archive to be split, and of one that came out as a single volume. Tools leave either when they join
// volumes. APPNOTE, 8.5.4 and 8.5.5.
const splitMark, oneDiskMark = "PK\x07\x08", "PK00"

// skipMark returns the first member's least offset: after the mark, if there is one.
func (a *Archive) skipMark(ctx context.Context) (int64, error) {
	mark := make([]byte, min(a.size, int64(len(splitMark))))
	if err := a.read(ctx, mark, 0); err != nil {
		return 0, err
	}
	if s := string(mark); s == splitMark || s == oneDiskMark {
		return int64(len(mark)), nil
	}
	return 0, nil
}

// lastVolume returns an error if a file without an archive's beginning ends as the last volume of a split zip.
func lastVolume(ctx context.Context, f io.ReaderAt, size int64) error {
	tail := make([]byte, min(size, endSize))
	if _, err := io.ReadFull(newSource(ctx, f, size-int64(len(tail)), int64(len(tail))), tail); err != nil {
		return err
	}
	if len(tail) == endSize && le.Uint32(tail) == endSig && le.Uint16(tail[4:]) > 0 && le.Uint16(tail[4:]) != max16 {
		return splitZip()
	}
	return nil
}

func splitZip() error {
	return fault.Invalid("The zip is one volume of a split archive; unpack its volumes together, with 7z x volumes.zip, and make one zip of the files")
}
