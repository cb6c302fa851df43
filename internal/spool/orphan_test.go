package spool_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/spool/spooltest"
)

const deadID = "20260102T030405Z-abcdefghij23"

func TestOrphans(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	now := time.Now()
	s := open(t, dir, spool.Options{Now: func() time.Time { return now }})
	create(t, s, MiB) // alive, and so never listed
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at(deadID+"/manifest.json"), []byte(`{"upload":3,"phase":"verify","of_the_future":[1]}`), 20*time.Minute)
	grow(t, at(deadID), time.Hour)
	write(t, at(".new-"+deadID+"/manifest.json"), []byte(`{"upload":`), time.Hour)
	grow(t, at(".new-"+deadID), 2*time.Minute)
	write(t, at("core.4711"), make([]byte, 4096), 3*time.Hour)
	write(t, at("deep/deeper/deepest"), nil, 4*time.Hour)
	grow(t, at("deep/deeper"), 5*time.Hour)
	grow(t, at("deep"), 6*time.Hour)
	write(t, at("tomorrow"), nil, -24*time.Hour)
	if err := os.Symlink("/etc", at("link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}

	want := map[string]spool.Orphan{
		deadID:           {Workspace: true, Age: 20 * time.Minute, Manifest: &spool.Manifest{Upload: 3, Phase: "verify"}},
		".new-" + deadID: {Age: 2 * time.Minute},
		"core.4711":      {Age: 3 * time.Hour},
		"deep":           {Age: 4 * time.Hour},
		"tomorrow":       {},
		"link":           {},
		"fifo":           {},
	}
	for name, o := range want {
		o.Name = name
		want[name] = o
	}
	about := cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() < time.Minute })
	opts := cmp.Options{about, cmpopts.IgnoreUnexported(spool.Orphan{}), cmpopts.IgnoreFields(spool.Orphan{}, "Bytes")}
	found := orphans(t, s)
	if diff := cmp.Diff(want, found, opts); diff != "" {
		t.Error(diff)
	}
	if found["core.4711"].Bytes != 4096 {
		t.Errorf("the core takes %d bytes", found["core.4711"].Bytes)
	}

	// An mtime in the future ages from its discovery.
	now = now.Add(30 * time.Minute)
	if o := orphans(t, s)["tomorrow"]; (o.Age - 30*time.Minute).Abs() > time.Minute {
		t.Errorf("half an hour after it was first seen its age is %s", o.Age)
	}
}

// Nothing is known of a spool that is not there.
func TestOldestOrphan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	if age, err := spool.OldestOrphan(t.Context(), dir); err == nil {
		t.Errorf("where there is no spool it is %v old", age)
	}
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if age, err := spool.OldestOrphan(t.Context(), dir); age != 0 || err != nil {
		t.Errorf("in an empty spool it is %v old, %v", age, err)
	}
}

func TestLive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	now := time.Now()
	s := open(t, dir, spool.Options{Now: func() time.Time { return now }})
	for _, name := range []string{deadID, "stray", ".new-" + deadID} {
		write(t, filepath.Join(dir, name, "file"), nil, time.Hour)
	}
	live := func(want int, least, most time.Duration) {
		t.Helper()
		if n, oldest, err := s.Live(t.Context()); n != want || oldest < least || oldest > most || err != nil {
			t.Errorf("%d live, the oldest made %s ago, %v", n, oldest, err)
		}
	}
	live(0, 0, 0)
	first := create(t, s, 0)
	now = now.Add(time.Hour)
	second := create(t, s, 0)
	live(2, time.Hour, time.Hour+time.Second)
	closeAll(t, first)
	live(1, 0, time.Second)
	closeAll(t, second)
	live(0, 0, 0)
}

func TestReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	open(t, dir, spool.Options{})
	write(t, filepath.Join(dir, "tomorrow"), make([]byte, 4096), -24*time.Hour)
	write(t, filepath.Join(dir, "tree/file"), make([]byte, 4096), time.Hour)
	s, err := spool.Attach(dir, spool.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, o := range orphans(t, s) {
		if freed, err := s.Reclaim(t.Context(), o); err != nil || freed < 4096 {
			t.Errorf("%s: would free %d, %v", name, freed, err)
		}
	}
	if diff := cmp.Diff([]string{"tomorrow", "tree"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(filepath.Join(dir, "tomorrow"))
	if err != nil {
		t.Fatal(err)
	}
	if time.Until(info.ModTime()) < time.Hour {
		t.Error("a file was touched")
	}
}

// TestReclaimStaysInside reclaims trees full of ways out.
func TestReclaimStaysInside(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "precious"), []byte("x"), 0)
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Options{})
	write(t, filepath.Join(dir, "tree/sub/file"), nil, 0)
	for name, target := range map[string]string{
		"to-dir": outside, "to-file": filepath.Join(outside, "precious"), "tree/up": "../..", "tree/sub/self": ".",
		"tree/sub/dangling": "/nowhere", "tree/mark": "../.tecken-spool", "tree/abs": outside,
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(outside, "precious"), filepath.Join(dir, "tree/hard")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "tree/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range orphans(t, s) {
		if _, err := s.Reclaim(t.Context(), o); err != nil {
			t.Error(err)
		}
		if _, err := s.Reclaim(t.Context(), o); err != nil {
			t.Errorf("once more: %v", err)
		}
	}
	noTrace(t, s, dir)
	if text, err := os.ReadFile(filepath.Join(outside, "precious")); string(text) != "x" {
		t.Errorf("outside: %q, %v", text, err)
	}
	for _, name := range []string{"", ".", "..", ".tecken-spool", "lost+found", "../x", "a/b", "/etc"} {
		if _, err := s.Reclaim(t.Context(), spool.Orphan{Name: name}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Reclaim(%q): %v", name, err)
		}
	}
}

func TestReclaimWhatIsInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Options{})
	path := filepath.Join(dir, deadID)
	write(t, filepath.Join(path, "manifest.json"), nil, time.Hour)
	o := orphans(t, s)[deadID]
	held, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reclaim(t.Context(), o); !errors.Is(err, spool.ErrInUse) {
		t.Errorf("owned: %v", err)
	}
	if err := os.Rename(path, path+"-away"); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(path, "manifest.json"), nil, time.Hour)
	if _, err := s.Reclaim(t.Context(), o); !errors.Is(err, spool.ErrInUse) {
		t.Errorf("another of its name: %v", err)
	}
}

// TestMountsAreKept: a file system mounted in the spool is not entered, neither another one nor the same again.
func TestMountsAreKept(t *testing.T) {
	outside, dir := t.TempDir(), spooltest.Tmpfs(t, "size=8m")
	s := open(t, dir, spool.Options{})
	precious := filepath.Join(outside, "precious")
	write(t, precious, nil, 0)
	write(t, filepath.Join(dir, "same/precious"), nil, 0)
	for target, source := range map[string]string{
		"other": outside, "tree/other": outside, "tree/same": filepath.Join(dir, "same"),
	} {
		target = filepath.Join(dir, target)
		if err := os.MkdirAll(target, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(target, 0); err != nil {
				t.Errorf("unmount %s: %v", target, err)
			}
		})
	}
	write(t, filepath.Join(dir, "tree/file"), nil, 0)
	var failed []string
	for o, err := range s.Orphans(t.Context()) {
		switch {
		case err != nil:
			failed = append(failed, o.Name)
			// Even so, the rest may go.
			if _, err := s.Reclaim(t.Context(), o); err == nil {
				t.Errorf("all of %s was reclaimed", o.Name)
			}
		case o.Name != "same":
			t.Errorf("found %s", o.Name)
		}
	}
	if diff := cmp.Diff([]string{"tree"}, failed); diff != "" {
		t.Errorf("entries that could not be examined: %s", diff)
	}
	for _, path := range []string{precious, filepath.Join(dir, "same/precious")} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "tree/file")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("beside the mounts: %v", err)
	}
}

// TestReclaimGoesOn: what can't be removed does not keep the rest.
func TestReclaimGoesOn(t *testing.T) {
	dir := spooltest.Image(t, 16*MiB, "mkfs.ext4", "-q")
	s := open(t, dir, spool.Options{})
	for i := range 1000 {
		write(t, filepath.Join(dir, "tree", fmt.Sprint(i)), []byte("x"), time.Hour)
	}
	stuck := filepath.Join(dir, "tree/500")
	immutable := func(on int) { // 0x10 is FS_IMMUTABLE_FL
		f, err := os.Open(stuck)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, on*0x10); err != nil {
			t.Fatal(err)
		}
	}
	immutable(1)
	o := orphans(t, s)["tree"]
	freed, err := s.Reclaim(t.Context(), o)
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "500") {
		t.Errorf("Reclaim: %v", err)
	}
	if freed < 999*KiB {
		t.Errorf("freed %d bytes", freed)
	}
	rest := slices.DeleteFunc(names(t, dir), func(name string) bool { return !strings.HasPrefix(name, ".gone-") })
	if len(rest) != 1 {
		t.Fatalf("in the spool: %q", names(t, dir))
	}
	if diff := cmp.Diff([]string{"500"}, names(t, filepath.Join(dir, rest[0]))); diff != "" {
		t.Error(diff)
	}
	stuck = filepath.Join(dir, rest[0], "500")
	immutable(0)
	// Emptying it has made it young, which does not protect it.
	o = orphans(t, s)[rest[0]]
	if o.Age < 24*time.Hour {
		t.Errorf("what is left has the age %v", o.Age)
	}
	if _, err := s.Reclaim(t.Context(), o); err != nil {
		t.Error(err)
	}
	noTrace(t, s, dir)
}

func TestReclaimBottomless(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Options{})
	if err := os.MkdirAll(filepath.Join(dir, "pit", strings.Repeat("d/", 300)), 0o755); err != nil {
		t.Fatal(err)
	}
	for o, err := range s.Orphans(t.Context()) {
		if o.Name != "pit" || err == nil || !strings.Contains(err.Error(), "deep") {
			t.Errorf("%s: %v", o.Name, err)
		}
	}
}

func TestOrphansEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Options{})
	for i := range 10 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), nil, 0)
	}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	seen := 0
	var last error
	for _, last = range s.Orphans(ctx) {
		if seen++; seen == 3 {
			cancel(stop)
		}
	}
	if seen != 4 || !errors.Is(last, stop) {
		t.Errorf("%d found, ended with %v", seen, last)
	}
}

// TestCreateAgainstJanitor lets servers make and close workspaces while janitors take everything without an owner.
func TestCreateAgainstJanitor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, spool.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var janitors, servers sync.WaitGroup
	for range 2 {
		janitors.Go(func() {
			for ctx.Err() == nil {
				for o, err := range s.Orphans(t.Context()) {
					if err != nil {
						t.Error(err)
					} else if _, err := s.Reclaim(t.Context(), o); err != nil && !errors.Is(err, spool.ErrInUse) {
						t.Error(err)
					}
				}
			}
		})
	}
	for range 4 {
		servers.Go(func() {
			for range 200 {
				w, err := s.Create(t.Context(), 4096)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(filepath.Join(dir, w.ID(), "manifest.json")); err != nil {
					t.Errorf("a live workspace: %v", err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	servers.Wait()
	cancel()
	janitors.Wait()
	noTrace(t, s, dir)
}
