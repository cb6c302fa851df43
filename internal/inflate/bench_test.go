package inflate

import (
	"bufio"
	"bytes"
	"compress/flate"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	klauspost "github.com/klauspost/compress/flate"
)

// BenchmarkReader measures a Reader beside other decoders, in turns: on a symbol file, a program, what does not deflate, many small
// members, and the files named by -files. It reports medians: of MB of text a second, and how many times faster than each other one.
//
//	go test -run XXX -bench . -benchtime 20x ./internal/inflate -files real.sym,program.exe
func BenchmarkReader(b *testing.B) {
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	sym, elf := symText(16<<20), readFile(b, program)
	texts := []struct {
		name  string
		level int
		parts [][]byte
	}{
		{"sym", 8, [][]byte{sym}},
		{"elf", 8, [][]byte{elf}},
		{"stored", 2, [][]byte{elf}},
		{"100-bytes", 8, slices.Collect(slices.Chunk(elf[:1<<20], 100))},
		{"2000-bytes", 8, slices.Collect(slices.Chunk(sym[:8<<20], 2000))},
	}
	for _, t := range texts {
		b.Run(t.name, func(b *testing.B) { race(b, t.level, t.parts) })
	}
	for _, name := range splitNames(*files) {
		b.Run(filepath.Base(name), func(b *testing.B) { race(b, 8, [][]byte{readFile(b, name)}) })
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func splitNames(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// race lets each decoder decode all texts, deflated at a level, in turns.
func race(b *testing.B, level int, texts [][]byte) {
	var size int64
	streams := make([][]byte, len(texts))
	for i, text := range texts {
		size += int64(len(text))
		streams[i] = deflated(level, text)
	}
	decoders := newDecoders()
	took := make([][]float64, len(decoders)) // seconds, by decoder
	ratios := make([][]float64, len(decoders))
	for b.Loop() {
		for i, d := range decoders {
			start := time.Now()
			var got int64
			for _, s := range streams {
				n, err := d.decode(bytes.NewReader(s))
				if err != nil {
					b.Fatal(d.name, err)
				}
				got += n
			}
			took[i] = append(took[i], time.Since(start).Seconds())
			if got != size {
				b.Fatal(d.name, got, "bytes instead of", size)
			}
			n := len(took[i]) - 1
			ratios[i] = append(ratios[i], took[i][n]/took[0][n])
		}
	}
	b.ReportMetric(0, "ns/op") // of all decoders together
	for i, d := range decoders {
		b.ReportMetric(float64(size)/1e6/median(took[i]), d.name+"-MB/s")
		if i > 0 {
			b.ReportMetric(median(ratios[i]), "×"+d.name)
		}
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// A decoder decodes the stream of a source, and returns its length.
type decoder struct {
	name   string
	decode func(io.Reader) (int64, error)
}

// newDecoders returns a Reader that writes, one that is read, and two others.
func newDecoders() []decoder {
	buf := make([]byte, bufSize)
	read := func(src io.Reader) (int64, error) {
		return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{src}, buf)
	}
	in := bufio.NewReaderSize(nil, bufSize)
	ours, theirs, std := NewReader(), klauspost.NewReader(in), flate.NewReader(in)
	return []decoder{
		{"ours", func(src io.Reader) (int64, error) {
			ours.Reset(src)
			return ours.WriteTo(io.Discard)
		}},
		{"ours-read", func(src io.Reader) (int64, error) {
			ours.Reset(src)
			return read(ours)
		}},
		{"klauspost", func(src io.Reader) (int64, error) {
			in.Reset(src)
			if err := theirs.(klauspost.Resetter).Reset(in, nil); err != nil {
				return 0, err
			}
			return read(theirs)
		}},
		{"standard", func(src io.Reader) (int64, error) {
			in.Reset(src)
			if err := std.(flate.Resetter).Reset(in, nil); err != nil {
				return 0, err
			}
			return read(std)
		}},
	}
}
