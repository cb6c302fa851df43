package inflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// mostText bounds what is decoded of one stream.
const mostText = 1 << 19

// An outcome is what a decoder makes of a stream.
type outcome struct {
	verdict string // "whole", "broken", "cut", or "long" where there is more than mostText
	text    []byte // mostText at most
	left    int    // bytes behind a whole stream
}

func (o outcome) String() string {
	return fmt.Sprintf("%s, %d bytes, %d left", o.verdict, len(o.text), o.left)
}

// capped takes mostText bytes.
type capped struct{ text []byte }

var errLong = errors.New("it is long")

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), mostText-len(c.text))
	c.text = append(c.text, p[:n]...)
	if n < len(p) {
		return n, errLong
	}
	return n, nil
}

// verdictOf returns the name of the end that a decoder came to with err.
func verdictOf(err error) string {
	var corrupt flate.CorruptInputError
	switch {
	case err == nil:
		return "whole"
	case errors.Is(err, errLong):
		return "long"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "cut"
	case errors.As(err, &corrupt):
		return "broken"
	}
	return err.Error()
}

// A pair decodes streams with a Reader that is used again and again, and with compress/flate.
type pair struct {
	ours     *Reader
	standard io.Reader
	buf      []byte
}

func newPair() *pair {
	return &pair{NewReader(), flate.NewReader(bytes.NewReader(nil)), make([]byte, 1<<16)}
}

// want returns compress/flate's outcome.
func (p *pair) want(stream []byte) outcome {
	var got capped
	in := bytes.NewReader(stream)
	err := p.standard.(flate.Resetter).Reset(in, nil)
	if err == nil {
		_, err = io.CopyBuffer(&got, p.standard, p.buf)
	}
	return outcome{verdictOf(err), got.text, in.Len()}
}

// ways are ways of reading a stream.
var ways = []struct {
	name   string
	source func(*rand.Rand, io.Reader) io.Reader
	copy   func(*pair, *rand.Rand, io.Writer) error
}{
	{"written", whole, (*pair).written},
	{"read", whole, (*pair).readAny},
	{"written, from bytes", bytewise, (*pair).written},
	{"read, from parts", parts, (*pair).readAny},
}

func whole(_ *rand.Rand, src io.Reader) io.Reader    { return src }
func bytewise(_ *rand.Rand, src io.Reader) io.Reader { return iotest.OneByteReader(src) }

// parts reads a few bytes at once, and io.EOF with the last.
func parts(rnd *rand.Rand, src io.Reader) io.Reader {
	return iotest.DataErrReader(&partsReader{src, rnd})
}

type partsReader struct {
	src io.Reader
	rnd *rand.Rand
}

func (r *partsReader) Read(p []byte) (int, error) {
	return r.src.Read(p[:min(len(p), 1+r.rnd.IntN(1<<r.rnd.IntN(14)))])
}

func (p *pair) written(_ *rand.Rand, w io.Writer) error {
	_, err := p.ours.WriteTo(w)
	return err
}

// readAny reads, a few bytes at once or many.
func (p *pair) readAny(rnd *rand.Rand, w io.Writer) error {
	for {
		n, err := p.ours.Read(p.buf[:1+rnd.IntN(1<<(1+rnd.IntN(16)))])
		if _, err := w.Write(p.buf[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n == 0:
			return io.ErrNoProgress
		}
	}
}

// agree fails if the two differ on a stream, and returns our outcome. Of a refused stream either may give less text: compress/flate takes a
// code without an end of block, and wants as many bits as that has for every symbol.
func (p *pair) agree(t *testing.T, stream []byte, seed uint64) (first outcome) {
	t.Helper()
	want := p.want(stream)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for i, way := range ways {
		var taken capped
		in := bytes.NewReader(stream)
		src := way.source(rnd, in)
		p.ours.Reset(src)
		got := outcome{verdict: verdictOf(way.copy(p, rnd, &taken)), text: taken.text}
		rest, _ := io.Copy(io.Discard, src)
		got.left = int(rest) + p.ours.Buffered()
		if i == 0 {
			first = got
		}
		if want.verdict == "long" && got.verdict != "long" { // it may be refused in the end
			_, err := io.CopyBuffer(io.Discard, p.standard, p.buf)
			want.verdict = verdictOf(err)
		}
		if !got.like(want) || got.verdict != first.verdict || !bytes.Equal(got.text, first.text) {
			t.Fatalf("%s: %v; compress/flate: %v; %s: %v\n%x", way.name, got, want, ways[0].name, first, stream)
		}
	}
	if first.verdict == "whole" {
		p.endsItself(t, stream[:len(stream)-first.left])
	}
	return first
}

// like reports whether two decoders agree.
func (o outcome) like(other outcome) bool {
	refused := func(o outcome) bool { return o.verdict == "broken" || o.verdict == "cut" }
	if refused(o) || refused(other) {
		n := min(len(o.text), len(other.text))
		return refused(o) && refused(other) && bytes.Equal(o.text[:n], other.text[:n])
	}
	return o.verdict == other.verdict && bytes.Equal(o.text, other.text) && (o.verdict == "long" || o.left == other.left)
}

// endsItself fails if our Reader reads on after the last byte of a whole stream: a source that has no more yet would block.
func (p *pair) endsItself(t *testing.T, stream []byte) {
	t.Helper()
	end := errors.New("read behind the stream's end")
	for _, src := range []io.Reader{bytes.NewReader(stream), iotest.OneByteReader(bytes.NewReader(stream))} {
		p.ours.Reset(io.MultiReader(src, iotest.ErrReader(end)))
		if _, err := p.ours.WriteTo(io.Discard); err != nil {
			t.Fatalf("%v\n%x", err, stream)
		}
	}
}

// FuzzReader: a used Reader accepts what compress/flate accepts, as far, and as the same text, however it is read.
func FuzzReader(f *testing.F) {
	for _, v := range verdicts() {
		f.Add(v.stream.bytes, []byte("\x4b\x4c\x4a\x06\x00"), uint64(0))
	}
	const most = 1 << 16 // bytes of a stream: long ones are slow to fuzz
	for i, s := range samples() {
		if len(s) <= most {
			f.Add(s, samples()[0], uint64(i))
		}
	}
	p := newPair()
	f.Fuzz(func(t *testing.T, stream, before []byte, seed uint64) {
		p.ours.Reset(bytes.NewReader(before[:min(len(before), most)]))
		_, _ = io.CopyN(io.Discard, p.ours, mostText)
		p.agree(t, stream[:min(len(stream), most)], seed)
	})
}

// Each bit of small streams is changed.
func TestFlippedBits(t *testing.T) {
	p := newPair()
	counts := make(map[string]int)
	for _, s := range small() {
		for i := range 8 * len(s) {
			changed := bytes.Clone(s)
			changed[i/8] ^= 1 << (i % 8)
			counts[p.agree(t, changed, uint64(i)).verdict]++
		}
	}
	if counts["whole"] < 1000 || counts["broken"] < 1000 || counts["cut"] < 100 {
		t.Error("the streams are of one kind:", counts)
	}
}
