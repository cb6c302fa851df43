package tarball

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	therootcompany "github.com/therootcompany/xz"
	"github.com/ulikunitz/xz"

	"tecken-upload/internal/archive/tartest"
)

// packXz compresses text in chunks of every kind: what does not get smaller is stored.
func packXz(t *testing.T, check byte, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.WriterConfig{CheckSum: check, BlockSize: 1 << 20}.NewWriter(&b)
	must(t, err)
	_, err = io.WriteString(w, text)
	must(t, err)
	must(t, w.Close())
	return b.String()
}

// unpackXz decodes a file as archives are, which arrives in small pieces.
func unpackXz(file string) (string, error) {
	z, err := therootcompany.NewReader(newXzChunks(inPieces(file)), maxXzWindow)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(z)
	return string(text), err
}

// inPieces delivers a file in pieces of a few bytes.
func inPieces(file string) io.Reader { return &pieces{strings.NewReader(file)} }

type pieces struct{ r io.Reader }

func (p *pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), 7)]) }

func xzFiles(t *testing.T) map[string][2]string {
	random := make([]byte, 300_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	text := strings.Repeat("FUNC 1000 54 0 main\n", 200_000)
	mixed := text + string(random) + text
	ones := strings.Repeat("one ", 100)
	one, two := packXz(t, xz.CRC64, ones), packXz(t, xz.SHA256, "two")
	return map[string][2]string{
		"one chunk":   {one, ones},
		"nothing":     {packXz(t, xz.CRC32, ""), ""},
		"many blocks": {packXz(t, xz.CRC32, mixed), mixed},
		"two streams": {one + two, ones + "two"},
		"padding":     {one + "\x00\x00\x00\x00\x00\x00\x00\x00" + two + "\x00\x00\x00\x00", ones + "two"},
		"no check":    {packXz(t, xz.None, text), text},
	}
}

func TestXzChunks(t *testing.T) {
	for name, file := range xzFiles(t) {
		if text, err := unpackXz(file[0]); err != nil || text != file[1] {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
}

// No damage gets in, wherever it is, as with liblzma. Other properties of the coder are none: a text as plain as this one has the same
// code with them.
func TestDamagedXz(t *testing.T) {
	const properties = 29 // where they are, in a file of one block
	files := xzFiles(t)
	for _, name := range []string{"nothing", "one chunk", "two streams", "padding"} {
		for at := range files[name][0] {
			if at == properties && name != "nothing" {
				continue
			}
			damaged := []byte(files[name][0])
			damaged[at] ^= 1
			if _, err := unpackXz(string(damaged)); err == nil {
				t.Errorf("%s: with another byte at %d it is accepted", name, at)
			}
		}
	}
}

// The first byte of a range encoder's output says nothing, and is zero.
func TestTarXzWithAChunkThatBeginsOtherwise(t *testing.T) {
	file := tartest.Compress(t, "tar.xz", someTar())
	const streamHeader, chunkHeader = 12, 6
	at := streamHeader + (int(file[streamHeader])+1)*4 + chunkHeader
	if file[at] != 0 {
		t.Fatalf("there is no chunk at %d", at)
	}
	file[at] = 1
	tarball, err := open(file)
	must(t, err)
	err = verify(t.Context(), tarball, file)
	if err == nil || !strings.Contains(err.Error(), "does not begin with a zero") {
		t.Errorf("%v", err)
	}
}
