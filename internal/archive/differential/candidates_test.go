package differential

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/mholt/archiver/v4"
)

// A candidate is an archive to be read: a function of the seed and its number.
type candidate struct {
	number    uint64
	format    string   // "zip", "tar", "tar.gz", "tar.bz2", "tar.xz" or "tar.zst"
	mutations []string // what was done to it
	data      []byte
}

// A mutation changes a zip or a tar before it is sealed, which puts all right that follows from the change, or after.
type mutation[T container] struct {
	name  string
	early func(r *rand.Rand, c T)
	late  func(r *rand.Rand, c T)
}

// A container is a zip or a tar in parts.
type container interface {
	seal()         // puts sizes, offsets and checksums right
	bytes() []byte // writes the parts as they are
}

// written is a container that is as it should be.
func written(c container) []byte {
	c.seal()
	return c.bytes()
}

// mutate writes a container with all mutations, as far as they are any.
func mutate[T container](r *rand.Rand, c T, all []*mutation[T]) []byte {
	for _, m := range all {
		if m != nil && m.early != nil {
			m.early(r, c)
		}
	}
	c.seal()
	for _, m := range all {
		if m != nil && m.late != nil {
			m.late(r, c)
		}
	}
	return c.bytes()
}

// A change is a mutation of a zip or a tar, or one of what is made of it.
type change struct {
	name string
	zip  *mutation[*zipFile]
	tar  *mutation[*tarFile]
	pack func(r *rand.Rand, format string, tar []byte) []byte // compresses the tar
	raw  func(r *rand.Rand, data []byte) []byte               // changes the finished archive
}

// changes are all there are.
func changes() []change {
	var all []change
	for i := range zipMutations {
		all = append(all, change{name: "zip: " + zipMutations[i].name, zip: &zipMutations[i]})
	}
	for i := range tarMutations {
		all = append(all, change{name: "tar: " + tarMutations[i].name, tar: &tarMutations[i]})
	}
	return append(all, otherChanges...)
}

var otherChanges = []change{
	{name: "compressed: two streams", pack: func(r *rand.Rand, format string, tar []byte) []byte {
		n := r.IntN(len(tar))
		return append(compress(format, tar[:n]), compress(format, tar[n:])...)
	}},
	{name: "compressed: two streams with bytes between", pack: func(r *rand.Rand, format string, tar []byte) []byte {
		n := r.IntN(len(tar))
		return slices.Concat(compress(format, tar[:n]), pick(r, make([]byte, 4), make([]byte, 3), skippable, []byte("junk")), compress(format, tar[n:]))
	}},
	{name: "compressed: two tars", pack: func(r *rand.Rand, format string, tar []byte) []byte {
		return append(compress(format, tar), compress(format, written(seedTar(r)))...)
	}},
	{name: "compressed: bytes behind the stream", pack: func(r *rand.Rand, format string, tar []byte) []byte {
		return append(compress(format, tar), pick(r, make([]byte, 1+r.IntN(600)), make([]byte, 4), []byte("junk"), skippable, skippable[:6])...)
	}},
	{name: "compressed: bytes before the stream", pack: func(r *rand.Rand, format string, tar []byte) []byte {
		return append(pick(r, skippable, compress(format, nil)), compress(format, tar)...)
	}},
	{name: "compressed: twice", pack: func(_ *rand.Rand, format string, tar []byte) []byte { return compress(format, compress(format, tar)) }},
	{name: "compressed: header of a gzip", pack: gzipHeaders},
	{name: "compressed: byte changed", pack: func(r *rand.Rand, format string, tar []byte) []byte {
		data := compress(format, tar)
		data[pick(r, r.IntN(len(data)), r.IntN(min(len(data), 20)), len(data)-1-r.IntN(min(len(data), 12)))] ^= 1 << r.IntN(8)
		return data
	}},
	{name: "compressed: cut", pack: func(r *rand.Rand, format string, tar []byte) []byte {
		data := compress(format, tar)
		return data[:len(data)-1-r.IntN(min(len(data)-1, 16))]
	}},
	{name: "byte changed", raw: func(r *rand.Rand, data []byte) []byte {
		data[r.IntN(len(data))] = pick(r, 0, 1, 0xff, byte(r.IntN(256)))
		return data
	}},
	{name: "byte inserted", raw: func(r *rand.Rand, data []byte) []byte {
		return slices.Insert(data, r.IntN(len(data)), byte(r.IntN(256)))
	}},
	{name: "cut at the end", raw: func(r *rand.Rand, data []byte) []byte {
		return data[:len(data)-min(len(data)-1, pick(r, 1, 22, block, 2*block, r.IntN(len(data))))]
	}},
	{name: "cut at the start", raw: func(r *rand.Rand, data []byte) []byte {
		return data[min(len(data)-1, pick(r, 1, 4, block, r.IntN(len(data)))):]
	}},
	{name: "range twice", raw: func(r *rand.Rand, data []byte) []byte {
		from := r.IntN(len(data))
		to := from + r.IntN(len(data)-from)
		return slices.Insert(data, to, data[from:to]...)
	}},
	{name: "range left out", raw: func(r *rand.Rand, data []byte) []byte {
		from := r.IntN(len(data))
		return slices.Delete(data, from, min(from+1+r.IntN(64), len(data)))
	}},
	{name: "archive behind the archive", raw: func(r *rand.Rand, data []byte) []byte {
		return append(data, written(pick[container](r, seedZip(r), seedTar(r)))...)
	}},
	{name: "unchanged", raw: func(_ *rand.Rand, data []byte) []byte { return data }},
}

// skippable is a zstd frame that readers skip.
var skippable = []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd")

// gzipHeaders compresses with the optional parts of a gzip's header, which the other formats have not.
func gzipHeaders(r *rand.Rand, format string, tar []byte) []byte {
	data := compress(format, tar)
	if format != "tar.gz" {
		return data
	}
	data[3] = byte(r.IntN(64))
	extra := pick(r, "", "\x03\x00abc", "name\x00", "comment\x00", "ab", "\x03\x00abcname\x00comment\x00ab")
	return slices.Concat(data[:10], []byte(extra), data[10:])
}

// compress compresses a tar in the way its format says.
func compress(format string, tar []byte) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch format {
	case "tar.gz":
		w = gzip.NewWriter(&b)
	case "tar.bz2":
		w, err = archiver.Bz2{}.OpenWriter(&b)
	case "tar.xz":
		w, err = archiver.Xz{}.OpenWriter(&b)
	case "tar.zst":
		w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	default:
		return tar
	}
	if err == nil {
		_, err = w.Write(tar)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a buffer can't fail
	}
	return b.Bytes()
}

// newCandidate makes the archive of that number. The numbers go through all changes, one after the other; a third of the
// archives have one or two more.
func newCandidate(seed, number uint64, all []change) *candidate {
	r := rand.New(rand.NewPCG(seed, number))
	first := all[number%uint64(len(all))]
	isZip := first.zip != nil || first.raw != nil && chance(r, 2)
	todo := []change{first}
	for chance(r, 3) && len(todo) < 3 {
		if more := all[r.IntN(len(all))]; isZip && more.zip != nil || !isZip && more.tar != nil {
			todo = append(todo, more)
		}
	}
	c := &candidate{number: number}
	var ofZip []*mutation[*zipFile]
	var ofTar []*mutation[*tarFile]
	for _, t := range todo {
		c.mutations = append(c.mutations, t.name)
		ofZip, ofTar = append(ofZip, t.zip), append(ofTar, t.tar)
	}
	switch {
	case isZip:
		c.format = "zip"
		c.data = mutate(r, seedZip(r), ofZip)
	case first.pack != nil:
		c.format = pick(r, "tar.gz", "tar.gz", "tar.bz2", "tar.xz", "tar.zst")
		c.data = first.pack(r, c.format, mutate(r, seedTar(r), ofTar))
	default:
		c.format = pick(r, "tar", "tar", "tar", "tar", "tar", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst")
		c.data = compress(c.format, mutate(r, seedTar(r), ofTar))
	}
	if first.raw != nil {
		c.data = first.raw(r, c.data)
	}
	return c
}

func (c *candidate) String() string { return c.format + " (" + strings.Join(c.mutations, " + ") + ")" }
