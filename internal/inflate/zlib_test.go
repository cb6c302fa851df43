package inflate

import (
	"archive/zip"
	"bufio"
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tecken-upload/internal/testenv"
)

var (
	streams = flag.Int("streams", 1000, "compare this many mutated streams with zlib")
	seed    = flag.Uint64("seed", 1, "the streams are a function of this number, and of the files")
	files   = flag.String("files", "", "files beside what tests make, separated by commas: the deflated members of a .zip, others to be deflated")
)

//go:embed testdata/zlib.py
var zlibProgram string

// A zlibProcess decodes streams with zlib.
type zlibProcess struct {
	in  io.Writer
	out *bufio.Reader
}

// newZlib starts a process that ends with the test.
func newZlib(t *testing.T) *zlibProcess {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		testenv.Missing(t, "python3", "scripts/test installs Debian's package python3.")
	}
	python := exec.Command("python3", "-c", zlibProgram, strconv.Itoa(mostText))
	python.Stderr = t.Output()
	in, errIn := python.StdinPipe()
	out, errOut := python.StdoutPipe()
	if err := errors.Join(errIn, errOut, python.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), python.Wait()); err != nil {
			t.Error("python:", err)
		}
	})
	return &zlibProcess{in, bufio.NewReader(out)}
}

// describe returns zlib's outcome of a stream, as describe does ours.
func (z *zlibProcess) describe(t *testing.T, stream []byte) string {
	t.Helper()
	_, err := z.in.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(stream))), stream...))
	line, errOut := z.out.ReadString('\n')
	if err := errors.Join(err, errOut); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func describe(o outcome) string {
	if o.verdict != "whole" {
		o.left = 0 // it has no end
	}
	if o.verdict == "broken" {
		o.text = nil // zlib's Python does not give it away
	}
	return fmt.Sprintf("%s %d %d %d", o.verdict, len(o.text), crc32.ChecksumIEEE(o.text), o.left)
}

// corpus returns streams that are whole.
func corpus(t *testing.T, rnd *rand.Rand) [][]byte {
	t.Helper()
	all, texts := samples(), [][]byte{symText(1 << 20), random(100_000)}
	for _, name := range splitNames(*files) {
		if filepath.Ext(name) == ".zip" {
			all = append(all, members(t, name)...)
		} else {
			texts = append(texts, readFile(t, name))
		}
	}
	for _, v := range verdicts() {
		all = append(all, v.stream.bytes)
	}
	for range 10 * levels {
		part := func() []byte {
			text := texts[rnd.IntN(len(texts))]
			n := min(rnd.IntN(1<<(4+rnd.IntN(14))), len(text))
			from := rnd.IntN(len(text) - n + 1)
			return text[from : from+n]
		}
		all = append(all, deflated(rnd.IntN(levels), part(), part(), part()))
	}
	return all
}

// members returns the streams of a zip's deflated members, up to those that take too long.
func members(t *testing.T, name string) (streams [][]byte) {
	t.Helper()
	const most = 200_000
	z, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		if f.Method != zip.Deflate || f.CompressedSize64 > most {
			continue
		}
		raw, err := f.OpenRaw()
		if err != nil {
			t.Fatal(err)
		}
		stream, err := io.ReadAll(raw)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
	}
	return streams
}

// mutate returns a stream that is another with a few changes.
func mutate(rnd *rand.Rand, from [][]byte) []byte {
	s := bytes.Clone(from[rnd.IntN(len(from))])
	for range 1 + rnd.IntN(3) {
		at := rnd.IntN(len(s) + 1)
		if rnd.IntN(2) == 0 {
			at = rnd.IntN(min(len(s), 100) + 1) // there are headers
		}
		other := from[rnd.IntN(len(from))]
		switch kind := rnd.IntN(12); {
		case len(s) == 0 || kind == 0:
			s = append(s, other...)
		case kind < 6:
			s[min(at, len(s)-1)] ^= 1 << rnd.IntN(8)
		case kind == 6:
			s[min(at, len(s)-1)] = byte(rnd.Uint32())
		case kind == 7:
			s = s[:at]
		case kind == 8:
			s = slices.Delete(s, at, min(at+1+rnd.IntN(20), len(s)))
		case kind == 9:
			s = slices.Insert(s, at, byte(rnd.Uint32()))
		default:
			s = append(s[:at], other[min(at, len(other)):]...)
		}
	}
	return s
}

// zlib and we agree on every stream, whatever a Reader decoded before: on the verdict, the text and the end. So does compress/flate.
//
//	scripts/differential -streams 220000 -seed 2 -files real.zip,real.sym,program
func TestZlib(t *testing.T) {
	z := newZlib(t)
	p := newPair()
	rnd := rand.New(rand.NewPCG(*seed, 0))
	whole := corpus(t, rnd)
	counts := make(map[string]int)
	for i := range len(whole) + *streams {
		var s []byte
		if i < len(whole) {
			s = whole[i]
		} else {
			s = mutate(rnd, whole)
		}
		ours := p.agree(t, s, uint64(i))
		counts[ours.verdict]++
		if got, want := describe(ours), z.describe(t, s); got != want {
			t.Errorf("stream %d: %s; zlib: %s\n%x", i, got, want, s)
		}
	}
	t.Log(counts)
	if counts["broken"] == 0 || counts["cut"] == 0 || counts["whole"] == 0 {
		t.Error("the streams are of one kind:", counts)
	}
}
