package tarball

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/archive/tarcheck"
	"tecken-upload/internal/archive/tartest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func someTar() []byte {
	return tartest.Join(tartest.File("a/A/a.sym", strings.Repeat("FUNC 1000 2a 0 main\n", 500)), tartest.File("b/B/b.pdb", "b"), tartest.End)
}

func open(file []byte) (*Tar, error) {
	t := Sniff(file[:min(len(file), tarcheck.BlockSize)])
	return t, t.Open(bytes.NewReader(file), 100)
}

// An ending file can be read until its context ends.
type ending struct {
	ctx context.Context
	*bytes.Reader
}

func (f ending) Read(p []byte) (int, error) {
	if f.ctx.Err() != nil {
		return 0, context.Cause(f.ctx)
	}
	return f.Reader.Read(p)
}

// verify reads file as a tar, and every member of it.
func verify(ctx context.Context, t *Tar, file []byte) error {
	return t.Verify(ctx, ending{ctx, bytes.NewReader(file)}, func(_ *tar.Header, content io.Reader) error {
		_, err := io.Copy(io.Discard, content)
		return err
	})
}

// A decoder of the test's own, with the manners of the worst.
type badDecoder struct {
	open error
	read func(r io.Reader, p []byte) (int, error)
}

func (d badDecoder) Open(r io.Reader, _ int64) (io.ReadCloser, error) {
	if d.open != nil {
		panic(d.open)
	}
	return io.NopCloser(readerFunc(func(p []byte) (int, error) { return d.read(r, p) })), nil
}

func (d badDecoder) tar() *Tar {
	return &Tar{Name: "tar.bad", compression: &compression{open: d.Open}, extra: extraPerMember + extraAtEnd}
}

// Decoders that panic or never end cost the archive, not the process.
func TestBadDecoders(t *testing.T) {
	header := tartest.Header("a/A/a.sym", '0', tartest.Octal(9000))
	for name, c := range map[string]struct {
		decoder badDecoder
		kind    error
	}{
		"panics when opened": {badDecoder{open: errors.New("index out of range")}, fault.ErrInvalid},
		"panics":             {badDecoder{read: func(io.Reader, []byte) (int, error) { panic("index out of range") }}, fault.ErrInvalid},
		"panics in a member": {badDecoder{read: func() func(io.Reader, []byte) (int, error) {
			n := 0
			return func(_ io.Reader, p []byte) (int, error) {
				if n++; n > 1 {
					panic("index out of range")
				}
				return copy(p, header), nil
			}
		}()}, fault.ErrInvalid},
		"gives nothing for ever": {badDecoder{read: func(io.Reader, []byte) (int, error) { return 0, nil }}, fault.ErrInvalid},
		"gives zeros for ever":   {badDecoder{read: func(_ io.Reader, p []byte) (int, error) { clear(p); return len(p), nil }}, fault.ErrTooLarge},
		"gives headers for ever": {badDecoder{read: func() func(io.Reader, []byte) (int, error) {
			global := bytes.NewReader(nil)
			return func(_ io.Reader, p []byte) (int, error) {
				if global.Len() == 0 {
					global.Reset(tartest.Join(tartest.Header("g", 'g', tartest.Octal(13)), tartest.Padded("13 comment=x\n")))
				}
				return global.Read(p)
			}
		}()}, fault.ErrTooLarge},
	} {
		err := verify(t.Context(), c.decoder.tar(), header)
		var bad *fault.Error
		if !errors.As(err, &bad) || !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(bad.Reason, "index out of range") || strings.Contains(bad.Reason, "goroutine") {
			t.Errorf("%s: the client sees our inside: %s", name, bad.Reason)
		}
		if strings.HasPrefix(name, "panics") && !strings.Contains(fmt.Sprint(bad.Cause), "index out of range") {
			t.Errorf("%s: it is not in the log: %v", name, bad.Cause)
		}
	}
}

// A decoder that works for ever without giving anything stops once its file ends with the context.
func TestEndlessDecoder(t *testing.T) {
	cause := errors.New("deadline of the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	rounds := 0
	decoder := badDecoder{read: func(r io.Reader, p []byte) (int, error) {
		for {
			if rounds++; rounds == 1000 {
				cancel(cause)
			}
			if _, err := r.Read(p[:1]); err != nil && !errors.Is(err, io.EOF) {
				return 0, err
			}
		}
	}}
	if err := verify(ctx, decoder.tar(), someTar()); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}
