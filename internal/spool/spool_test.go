package spool_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/spool/spooltest"
)

func TestOpenMakesAndMarks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "spool")
	if _, err := spool.Attach(dir, spool.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Attach before there is a directory: %v", err)
	}
	open(t, dir, spool.Options{})
	open(t, dir, spool.Options{}) // a second server, or the next
	s, err := spool.Attach(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestAttachChangesNothing(t *testing.T) {
	for _, mark := range []string{"", "directory", "symlink"} {
		t.Run("mark="+mark, func(t *testing.T) {
			dir := t.TempDir()
			var err error
			switch path := filepath.Join(dir, ".tecken-spool"); mark {
			case "directory":
				err = os.Mkdir(path, 0o755)
			case "symlink":
				err = os.Symlink("/etc/hostname", path)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := spool.Attach(dir, spool.Options{}); !errors.Is(err, spool.ErrNotSpool) {
				t.Errorf("Attach: %v", err)
			}
			if found := names(t, dir); len(found) > 0 {
				t.Errorf("made %q", found)
			}
		})
	}
}

func TestOpenRefusesHome(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, "letters"), nil, 0)
	_, err := spool.Open(home, spool.Options{})
	if !errors.Is(err, spool.ErrNotSpool) || !strings.Contains(err.Error(), "letters") {
		t.Errorf("Open: %v", err)
	}
	// The remedy in the message.
	write(t, filepath.Join(home, ".tecken-spool"), nil, 0)
	open(t, home, spool.Options{})
}

func TestOpenTakesFreshDisk(t *testing.T) {
	dir := spooltest.Image(t, 16*MiB, "mkfs.ext4", "-q")
	s := open(t, dir, spool.Options{})
	if found := orphans(t, s); len(found) > 0 {
		t.Errorf("orphans on a fresh disk: %v", found)
	}
}

func TestOpenWarnsOfSmallDisk(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=1m")
	var log bytes.Buffer
	s := open(t, dir, spool.Options{Largest: 2 * MiB, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "spool too small") {
		t.Errorf("log: %s", &log)
	}
	create(t, s, 512*KiB)
}

func TestUsage(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=64m,nr_inodes=100")
	s := open(t, dir, spool.Options{Headroom: MiB})
	before := usage(t, s)
	if before.Total != 64*MiB || before.Inodes != 100 || before.Headroom != MiB {
		t.Errorf("idle: %+v", before)
	}
	create(t, s, 10*MiB)
	after := usage(t, s)
	if after.Held != 10*MiB || after.Reserved != 0 || after.Live != 1 {
		t.Errorf("with one upload of 10 MiB: %+v", after)
	}
	if before.Room != before.Budget || after.Room != after.Free-MiB || after.Budget != after.Room+10*MiB {
		t.Errorf("room, and what it would be without the upload: before %+v, after %+v", before, after)
	}
	if taken := before.Free - after.Free; taken < 10*MiB || taken > 10*MiB+64*KiB {
		t.Errorf("%d bytes of the disk are taken", taken)
	}
	if before.FreeInodes-after.FreeInodes > 4 {
		t.Errorf("%d inodes are taken", before.FreeInodes-after.FreeInodes)
	}
}

// Programs that clean /tmp take the mark, and then no janitor cleans. The server restores it, whatever it does next.
func TestTheMarkIsPutBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	var log bytes.Buffer
	s := open(t, dir, spool.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	mark := filepath.Join(dir, ".tecken-spool")
	for what, do := range map[string]func(){
		"measured":  func() { usage(t, s) },
		"an upload": func() { closeAll(t, create(t, s, 1)) },
	} {
		log.Reset()
		if err := os.Remove(mark); err != nil {
			t.Fatal(err)
		}
		do()
		do()
		janitor, err := spool.Attach(dir, spool.Options{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := janitor.Close(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "mark was removed"); n != 1 {
			t.Errorf("%s: told of %d times: %s", what, n, &log)
		}
	}
}

// A young file is not cleaned away.
func TestTheMarkIsKeptYoung(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	now := time.Now()
	s := open(t, dir, spool.Options{Now: func() time.Time { return now }})
	for _, step := range []time.Duration{time.Minute, 20 * 24 * time.Hour} {
		now = now.Add(step)
		usage(t, s)
		info, err := os.Stat(filepath.Join(dir, ".tecken-spool"))
		if err != nil {
			t.Fatal(err)
		}
		if age := now.Sub(info.ModTime()); age > 2*time.Hour {
			t.Errorf("%v later it is %v old", step, age)
		}
	}
}

// What stands in the mark's place is not ours, and a janitor's spool is looked at alone.
func TestTheMarkThatIsNone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Options{})
	janitor, err := spool.Attach(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer janitor.Close()
	mark := filepath.Join(dir, ".tecken-spool")
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	if _, err := janitor.Usage(t.Context()); !errors.Is(err, spool.ErrNotSpool) {
		t.Errorf("a janitor measured it: %v", err)
	}
	if err := os.Mkdir(mark, 0o755); err != nil {
		t.Fatal(err)
	}
	_, usageErr := s.Usage(t.Context())
	_, createErr := s.Create(t.Context(), 1)
	for _, err := range []error{usageErr, createErr} {
		if !errors.Is(err, spool.ErrNotSpool) {
			t.Errorf("a directory was taken for the mark: %v", err)
		}
	}
}

// No janitor sees what goes into a directory that is no longer at its path, and no operator its bytes.
func TestASpoolThatIsTakenAway(t *testing.T) {
	for name, take := range map[string]func(dir string) error{
		"removed":  os.RemoveAll,
		"replaced": func(dir string) error { return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o755)) },
	} {
		dir := filepath.Join(t.TempDir(), "spool")
		s := open(t, dir, spool.Options{})
		if err := take(dir); err != nil {
			t.Fatal(err)
		}
		_, createErr := s.Create(t.Context(), 1)
		_, usageErr := s.Usage(t.Context())
		for _, err := range []error{createErr, usageErr} {
			if !errors.Is(err, spool.ErrNotSpool) || !strings.Contains(err.Error(), "removed or replaced") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
