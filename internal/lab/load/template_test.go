package main

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tecken-upload/internal/testarchive"
)

// variantDigits is how many digits of a member's id tell the variant.
const variantDigits = 8

// A template is an archive on disk that uploads are made of. A zip has variants: the same content under other
// ids, made while it is sent, by other digits in its directory and its local headers. A tar.gz has one.
type template struct {
	number  int
	file    string
	size    int64
	small   bool
	members []testarchive.Member // without the listing
	ignored int                  // listings
	patches []int64              // where variantDigits digits stand, in order; none in a tar.gz
}

// varied reports whether the template has variants.
func (t *template) varied() bool { return len(t.patches) > 0 }

// extension is the end of the archive's name.
func (t *template) extension() string {
	if t.varied() {
		return ".zip"
	}
	return ".tar.gz"
}

// specs are the templates of a run. giants are the last.
func specs(o options) (all []testarchive.Spec, giants int) {
	tens, level := []int64{6_000_000, 12_000_000}, 1 // quick to make
	switch {
	case o.long():
		tens, level = []int64{12_000_000, 24_000_000, 45_000_000}, 0
	case o.time < shortTime:
		tens = []int64{1_200_000}
	}
	for i, size := range []int64{3_000, 8_000, 20_000, 20_000, 60_000, 60_000, 150_000, 400_000} {
		all = append(all, testarchive.Spec{Bytes: size, Members: 3 + i, Mix: []testarchive.Mix{testarchive.RealMix, testarchive.PlainMix}[i%2], Listing: i%3 == 0})
	}
	all = append(all,
		testarchive.Spec{Bytes: 30_000, Members: 6, Format: testarchive.TarGzip},
		testarchive.Spec{Bytes: 120_000, Members: 8, Format: testarchive.TarGzip, Mix: testarchive.PlainMix},
		testarchive.Spec{Bytes: 100_000, Members: 5, Mix: testarchive.OnlySym, Store: true})
	for i, size := range tens {
		all = append(all, testarchive.Spec{Bytes: size, Members: 30 + 10*i, Level: level})
	}
	all = append(all,
		testarchive.Spec{Bytes: tens[0], Members: 12, Mix: testarchive.OnlySym, Store: true},
		testarchive.Spec{Bytes: tens[0], Members: 20, Format: testarchive.TarGzip, Level: level})
	if o.long() {
		giants = 2
		all = append(all,
			testarchive.Spec{Bytes: 220_000_000, Members: 104},
			testarchive.Spec{Bytes: 330_000_000, Members: 104, Mix: testarchive.PlainMix})
	}
	for i := range all {
		all[i].Seed = o.seed*1000 + uint64(i)
	}
	return all, giants
}

// smallest is the size, in bytes, from which on an archive is a large one.
const smallest = 1_000_000

// makeTemplate writes the archive of spec into dir, and each of its members, read by Go's own packages, beside it.
func makeTemplate(ctx context.Context, dir string, number int, spec testarchive.Spec) (_ *template, err error) {
	t := &template{number: number, file: filepath.Join(dir, fmt.Sprintf("%d.archive", number))}
	f, err := os.Create(t.file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewWriterSize(interruptible{ctx, f}, 1<<20)
	manifest, err := testarchive.Write(buffered, spec)
	if err := errors.Join(err, buffered.Flush()); err != nil {
		return nil, fmt.Errorf("make template %d: %w", number, err)
	}
	t.size, t.small = manifest.Bytes, manifest.Bytes < smallest
	for _, m := range manifest.Members {
		if m.Ignored {
			t.ignored++
		} else {
			t.members = append(t.members, m)
		}
	}
	if spec.Format == testarchive.TarGzip {
		return t, t.extractTar()
	}
	if t.patches, err = t.findIDs(f); err != nil {
		return nil, fmt.Errorf("read template %d: %w", number, err)
	}
	return t, t.extractZip()
}

// content is the file that holds the i-th member.
func (t *template) content(i int) string { return fmt.Sprintf("%s.%d", t.file, i) }

func (t *template) extractZip() error {
	r, err := zip.OpenReader(t.file)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, member := range r.File {
		content, err := member.Open()
		if err != nil {
			return err
		}
		if err := errors.Join(t.extract(member.Name, content), content.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (t *template) extractTar() error {
	f, err := os.Open(t.file)
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	r := tar.NewReader(plain)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.extract(header.Name, r); err != nil {
			return err
		}
	}
}

// extract keeps a member's content to compare with.
func (t *template) extract(name string, content io.Reader) (err error) {
	i := slices.IndexFunc(t.members, func(m testarchive.Member) bool { return m.Name == name })
	if i < 0 {
		return nil // the listing
	}
	f, err := os.Create(t.content(i))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, content)
	return err
}

// findIDs finds where a zip names its members' ids, in its central directory and in the local headers.
// Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16.
func (t *template) findIDs(f io.ReaderAt) ([]int64, error) {
	const endSize, centralSize, localSize = 22, 46, 30
	end := make([]byte, endSize)
	if _, err := f.ReadAt(end, t.size-endSize); err != nil {
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

// mask hides what differs between the variants in a key of storage or a member's name.
func mask(name string) (masked, digits string) {
	slash := strings.IndexByte(name, '/')
	if slash < 0 || len(name) < slash+1+variantDigits {
		return name, ""
	}
	slash++
	return name[:slash] + "--------" + name[slash+variantDigits:], name[slash : slash+variantDigits]
}

// variant reads the bytes of one variant of a template.
type variant struct {
	f      io.ReaderAt
	left   []int64 // patches to come
	digits string
	at     int64
	size   int64
}

func (t *template) variant(f io.ReaderAt, number uint32) *variant {
	return &variant{f: f, left: t.patches, digits: fmt.Sprintf("%08X", number), size: t.size}
}

// Read implements io.Reader.
func (v *variant) Read(p []byte) (int, error) {
	if v.at >= v.size {
		return 0, io.EOF
	}
	n, err := v.f.ReadAt(p[:min(int64(len(p)), v.size-v.at)], v.at)
	for len(v.left) > 0 && v.left[0] < v.at+int64(n) {
		from := v.left[0] - v.at // negative where the last read ended within the digits
		copy(p[max(0, from):n], v.digits[max(0, -from):])
		if from+variantDigits > int64(n) {
			break // the rest comes with the next read
		}
		v.left = v.left[1:]
	}
	v.at += int64(n)
	if errors.Is(err, io.EOF) && n > 0 {
		err = nil
	}
	return n, err
}

// interruptible is a writer that fails once its context has ended.
type interruptible struct {
	ctx context.Context
	w   io.Writer
}

func (i interruptible) Write(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.w.Write(p)
}
