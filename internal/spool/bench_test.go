package spool_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"tecken-upload/internal/spool"
)

const benchSize = 64 * MiB

// small hides all methods but Read, and yields as little at a time as a multipart body.
type small struct{ r io.Reader }

func (s small) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 4*KiB)]) }

// BenchmarkReceive compares with BenchmarkWrite, which does the least necessary.
func BenchmarkReceive(b *testing.B) {
	for name, declared := range map[string]int64{"declared": benchSize, "undeclared": -1} {
		b.Run(name, func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "spool"), spool.Options{})
			content := body(benchSize)
			b.SetBytes(benchSize)
			for b.Loop() {
				w := create(b, s, declared)
				if _, err := w.Receive(b.Context(), small{bytes.NewReader(content)}, benchSize, nil); err != nil {
					b.Fatal(err)
				}
				closeAll(b, w)
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	path := filepath.Join(b.TempDir(), "file")
	content := body(benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			b.Fatal(err)
		}
	}
}
