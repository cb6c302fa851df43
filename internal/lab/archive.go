package lab

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"tecken-upload/internal/testarchive"
)

// variantDigits is the number of digits of a member's id that vary.
const variantDigits = 8

// An Archive is the file of an upload.
type Archive struct {
	Filename string // as the form names it
	Content  io.ReaderAt
	Size     int64
	Members  []testarchive.Member // to be stored
	Ignored  int                  // other members
	Broken   bool                 // to be refused with a 400
}

// NewArchive makes an archive in memory.
func NewArchive(spec testarchive.Spec) (*Archive, error) {
	var content bytes.Buffer
	manifest, err := testarchive.Write(&content, spec)
	if err != nil {
		return nil, err
	}
	return describe(spec, manifest, bytes.NewReader(content.Bytes())), nil
}

// CreateArchive makes an archive in an unnamed file on dir's file system. It is gone once unused.
func CreateArchive(dir string, spec testarchive.Spec) (_ *Archive, err error) {
	f, err := os.CreateTemp(dir, "archive-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	buffered := bufio.NewWriterSize(f, 1<<20)
	var manifest testarchive.Manifest
	if err == nil {
		manifest, err = testarchive.Write(buffered, spec)
	}
	if err := errors.Join(err, buffered.Flush()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return describe(spec, manifest, f), nil
}

func describe(spec testarchive.Spec, manifest testarchive.Manifest, content io.ReaderAt) *Archive {
	format := spec.Format
	if format == "" {
		format = testarchive.Zip
	}
	a := &Archive{Filename: "symbols." + string(format), Content: content, Size: manifest.Bytes}
	a.Members = slices.DeleteFunc(slices.Clone(manifest.Members), func(m testarchive.Member) bool { return m.Ignored })
	a.Ignored = len(manifest.Members) - len(a.Members)
	return a
}

// Reader reads the archive from its beginning.
func (a *Archive) Reader() io.Reader { return io.NewSectionReader(a.Content, 0, a.Size) }

// Break damages the archive in the middle, in one of its largest members.
func (a *Archive) Break() {
	var middle [1]byte
	if _, err := a.Content.ReadAt(middle[:], a.Size/2); err != nil {
		panic(err) // it is in memory, or in a file that was just written
	}
	a.Content = patched{a.Content, []int64{a.Size / 2}, string(middle[0] ^ 0x55)}
	a.Broken = true
}

// Variant returns the n-th variant of a zip: the same content under other ids, with changed digits in its directory and its local headers.
func (a *Archive) Variant(n uint32) (*Archive, error) {
	ids, err := findIDs(a.Content, a.Size)
	if err != nil {
		return nil, fmt.Errorf("find the ids in %s: %w", a.Filename, err)
	}
	v := *a
	digits := fmt.Sprintf("%0*X", variantDigits, n)
	v.Content, v.Members = patched{a.Content, ids, digits}, slices.Clone(a.Members)
	for i := range v.Members {
		module, rest, _ := strings.Cut(v.Members[i].Name, "/")
		v.Members[i].Name = module + "/" + digits + rest[variantDigits:]
	}
	return &v, nil
}

// patched replaces text at some offsets, given in order.
type patched struct {
	io.ReaderAt
	offsets []int64
	text    string
}

// ReadAt implements io.ReaderAt.
func (r patched) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, at)
	first, _ := slices.BinarySearch(r.offsets, at-int64(len(r.text))+1)
	for _, offset := range r.offsets[first:] {
		if offset >= at+int64(n) {
			break
		}
		copy(p[max(0, offset-at):n], r.text[max(0, at-offset):])
	}
	return n, err
}

// findIDs finds a zip's members' ids, in its central directory and in the local headers.
// Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16.
func findIDs(f io.ReaderAt, size int64) ([]int64, error) {
	const endSize, centralSize, localSize = 22, 46, 30
	end := make([]byte, endSize)
	if _, err := f.ReadAt(end, size-endSize); err != nil {
		return nil, err
	}
	at, length := int64(binary.LittleEndian.Uint32(end[16:])), binary.LittleEndian.Uint32(end[12:])
	directory := make([]byte, length)
	if _, err := f.ReadAt(directory, at); err != nil {
		return nil, err
	}
	var found []int64
	for rest := directory; len(rest) >= centralSize; {
		nameSize := int(binary.LittleEndian.Uint16(rest[28:]))
		next := centralSize + nameSize + int(binary.LittleEndian.Uint16(rest[30:])) + int(binary.LittleEndian.Uint16(rest[32:]))
		if string(rest[:4]) != "PK\x01\x02" || next > len(rest) {
			return nil, errors.New("its central directory is broken")
		}
		name := string(rest[centralSize : centralSize+nameSize])
		if slash := strings.IndexByte(name, '/'); slash >= 0 {
			begins := at + int64(len(directory)-len(rest)) + centralSize
			local := int64(binary.LittleEndian.Uint32(rest[42:])) + localSize
			found = append(found, begins+int64(slash)+1, local+int64(slash)+1)
		}
		rest = rest[next:]
	}
	slices.Sort(found)
	return found, nil
}
