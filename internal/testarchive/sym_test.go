package testarchive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"

	"tecken-upload/internal/symbol"
)

const testID = "44E4EC8C2F41492B9369D6B9A059577C2"

func TestSymDeflatesLikeRealFiles(t *testing.T) {
	for debugFile, sizes := range map[string][]int64{
		"libxul.so": {100 << 10, 1 << 20, 10 << 20, 100 << 20},
		"xul.pdb":   {100 << 10, 1 << 20, 10 << 20},
	} {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s of %d KiB", debugFile, size>>10), func(t *testing.T) {
				t.Parallel()
				deflated := &counter{w: io.Discard}
				w, err := flate.NewWriter(deflated, 6)
				if err != nil {
					t.Fatal(err)
				}
				sample := &sampler{w: w, all: size <= 10<<20}
				if err := Sym(sample, uint64(size), size, debugFile, testID); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if ratio := float64(sample.passed) / float64(deflated.n); ratio < 4.3 || ratio > 4.7 {
					t.Errorf("deflates %.2f : 1", ratio)
				}
			})
		}
	}
}

func TestSymIsWellFormed(t *testing.T) {
	for _, debugFile := range []string{"libxul.so", "xul.pdb"} {
		for _, size := range []int64{300, 1000, 1700, 5000, 200_000, 5 << 20} {
			t.Run(fmt.Sprintf("%s of %d bytes", debugFile, size), func(t *testing.T) {
				text := sym(t, 7, size, debugFile)
				if int64(len(text)) != size {
					t.Errorf("%d bytes", len(text))
				}
				kinds := checkSym(t, text)
				if size < 200_000 {
					return
				}
				for _, kind := range []string{"MODULE", "INFO", "FILE", "INLINE_ORIGIN", "FUNC", "INLINE", "line", "PUBLIC", "STACK"} {
					if kinds[kind] == 0 {
						t.Errorf("no %s record", kind)
					}
				}
			})
		}
	}
}

func TestSymHeader(t *testing.T) {
	for debugFile, want := range map[string]symbol.Header{
		"libxul.so": {OS: "Linux", Arch: "x86_64"},
		"xul.pdb":   {OS: "windows", Arch: "x86", CodeFile: "xul.dll"},
	} {
		var scanner symbol.HeaderScanner
		if err := Sym(&scanner, 7, 4000, debugFile, testID); err != nil {
			t.Fatal(err)
		}
		want.DebugFile, want.DebugID, want.CodeID, want.Generator = debugFile, testID, codeID(7, debugFile), Generator
		if got := scanner.Header(); got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", debugFile, got, want)
		}
	}
}

func TestSymIsReproducible(t *testing.T) {
	first := sym(t, 1, 100_000, "libxul.so")
	if !bytes.Equal(first, sym(t, 1, 100_000, "libxul.so")) {
		t.Error("one seed made two texts")
	}
	if bytes.Equal(first, sym(t, 2, 100_000, "libxul.so")) {
		t.Error("two seeds made one text")
	}
}

func TestSymFails(t *testing.T) {
	if err := Sym(io.Discard, 1, 100, "libxul.so", testID); err == nil {
		t.Error("a file shorter than its header was made")
	}
	full := errors.New("no space left")
	if err := Sym(failing{full}, 1, 1<<20, "libxul.so", testID); !errors.Is(err, full) {
		t.Errorf("writer failed, got %v", err)
	}
}

func BenchmarkSym(b *testing.B) {
	const size = 64 << 20
	b.SetBytes(size)
	for b.Loop() {
		if err := Sym(io.Discard, 1, size, "libxul.so", testID); err != nil {
			b.Fatal(err)
		}
	}
}

// sampler passes on one stretch of 256 KiB in eight, or all.
type sampler struct {
	w               io.Writer
	all             bool
	written, passed int64
}

func (s *sampler) Write(p []byte) (int, error) {
	s.written += int64(len(p))
	if !s.all && s.written>>18&7 != 0 {
		return len(p), nil
	}
	s.passed += int64(len(p))
	return s.w.Write(p)
}

// failing fails every write.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func sym(t *testing.T, seed uint64, size int64, debugFile string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Sym(&b, seed, size, debugFile, testID); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A checker holds what the records of one file have defined so far.
type checker struct {
	files, origins uint64
	functions      map[uint64]uint64 // size by address
	address, size  uint64            // of the function the line records belong to
	next           uint64            // address that a line record must begin at
	frame          [2]uint64         // the range of the last STACK CFI INIT
}

// checkSym reads a symbol file and reports whatever does not fit together in it. It returns the number
// of records of each kind.
func checkSym(t *testing.T, text []byte) map[string]int {
	t.Helper()
	if !bytes.HasPrefix(text, []byte("MODULE ")) || text[len(text)-1] != '\n' {
		t.Errorf("begins with %.40q and ends with %q", text, text[len(text)-1])
	}
	c := &checker{functions: map[uint64]uint64{}}
	kinds := map[string]int{}
	for line := range strings.Lines(string(text)) {
		kind, err := c.record(strings.TrimSuffix(line, "\n"))
		if err != nil {
			t.Fatalf("record %q: %v", line, err)
		}
		kinds[kind]++
	}
	return kinds
}

// record checks one record and returns its kind.
func (c *checker) record(line string) (string, error) {
	kind, rest, _ := strings.Cut(line, " ")
	f := strings.Fields(rest)
	switch kind {
	case "MODULE":
		return kind, fieldsAre(len(f) == 4 && len(f[2]) == 33)
	case "INFO":
		return kind, fieldsAre(len(f) >= 2)
	case "FILE":
		c.files++
		return kind, fieldsAre(len(f) == 2 && f[0] == strconv.FormatUint(c.files-1, 10))
	case "INLINE_ORIGIN":
		c.origins++
		return kind, fieldsAre(len(f) >= 2 && f[0] == strconv.FormatUint(c.origins-1, 10))
	case "FUNC":
		return kind, c.function(f)
	case "INLINE":
		n, err := numbers(f, "ddddxx")
		return kind, errors.Join(err, fieldsAre(err == nil && n[2] < c.files && n[3] < c.origins &&
			n[4] >= c.address && n[4]+n[5] <= c.address+c.size))
	case "PUBLIC":
		_, err := numbers(f, "xd.")
		return kind, err
	case "STACK":
		return kind, c.stack(f)
	}
	n, err := numbers(strings.Fields(line), "xxdd")
	if err == nil {
		err = fieldsAre(n[0] == c.next && n[0]+n[1] <= c.address+c.size && n[3] < c.files)
		c.next = n[0] + n[1]
	}
	return "line", err
}

func (c *checker) function(f []string) error {
	n, err := numbers(f, "xxd.")
	if err != nil {
		return err
	}
	behind := n[0] >= c.address+c.size
	c.address, c.size, c.next = n[0], n[1], n[0]
	c.functions[n[0]] = n[1]
	return fieldsAre(behind && n[1] > 0)
}

func (c *checker) stack(f []string) error {
	switch {
	case len(f) > 4 && f[0] == "CFI" && f[1] == "INIT":
		n, err := numbers(f[2:], "xx.")
		if err != nil {
			return err
		}
		c.frame = [2]uint64{n[0], n[0] + n[1]}
		return fieldsAre(c.functions[n[0]] == n[1])
	case len(f) > 2 && f[0] == "CFI":
		n, err := numbers(f[1:], "x.")
		return errors.Join(err, fieldsAre(err == nil && n[0] > c.frame[0] && n[0] < c.frame[1]))
	case len(f) > 2 && f[0] == "WIN":
		n, err := numbers(f[1:], "xxxxxxxxxx.")
		return errors.Join(err, fieldsAre(err == nil && n[0] == 4 && n[9] == 1 && c.functions[n[1]] == n[2]))
	}
	return errors.New("unknown STACK record")
}

func fieldsAre(right bool) error {
	if right {
		return nil
	}
	return errors.New("fields do not fit")
}

// numbers reads fields as told by format: d is a decimal number, x a hexadecimal one in lower case, and .
// whatever else there is, but something.
func numbers(fields []string, format string) ([]uint64, error) {
	var n []uint64
	for i, verb := range format {
		if i >= len(fields) {
			return nil, errors.New("too few fields")
		}
		if verb == '.' {
			return n, nil
		}
		base := map[rune]int{'d': 10, 'x': 16}[verb]
		x, err := strconv.ParseUint(fields[i], base, 64)
		if err != nil || strconv.FormatUint(x, base) != fields[i] {
			return nil, fmt.Errorf("field %d is not a number: %w", i, err)
		}
		n = append(n, x)
	}
	if len(fields) > len(format) {
		return nil, errors.New("too many fields")
	}
	return n, nil
}
