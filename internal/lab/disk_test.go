package lab

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/testenv"
)

func TestDisk(t *testing.T) {
	d := NewDisk(t, filepath.Join(t.TempDir(), "disk"), 4<<20)
	if d.Plain != nil {
		if _, err := d.Fill(); err == nil {
			t.Error("a plain directory was filled")
		}
		testenv.Missing(t, "mount", "It needs root: run the tests as root.")
	}
	file := filepath.Join(d.Dir, "file")
	for range 2 {
		free, err := d.Fill()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("x"), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("wrote to a full disk: %v", err)
		}
		if err := free(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, make([]byte, 3<<20), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}
