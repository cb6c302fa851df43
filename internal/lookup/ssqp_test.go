package lookup_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/lookup"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// builds is a shelf that keeps the ranges of code ids that it was asked for.
type builds struct {
	*shelf
	ranges []string
}

func (b *builds) Builds(ctx context.Context, first, last string, try bool) ([]symbol.Key, error) {
	b.ranges = append(b.ranges, fmt.Sprintf("%s-%s %t", first, last, try))
	return b.shelf.Builds(ctx, first, last, try)
}

// ELF files are found by SSQP's ids, whatever the names beside these and in any case; one that is shorter than 20 bytes is filled up
// with zeros there, some of which may be its own.
func TestELFBySSQP(t *testing.T) {
	for _, c := range []struct{ id, debugID, sent, codeIDs string }{
		{"180a373d6afbabf0eb1f09be1bc45bd796a71085", "3D370A18FB6AF0ABEB1F09BE1BC45BD70", "180a373d6afbabf0eb1f09be1bc45bd796a71085",
			"180A373D6AFBABF0EB1F09BE1BC45BD796A71085-180A373D6AFBABF0EB1F09BE1BC45BD796A71085"},
		{"180a373d6afbabf0eb1f09be1bc45bd7", "3D370A18FB6AF0ABEB1F09BE1BC45BD70", "180a373d6afbabf0eb1f09be1bc45bd700000000",
			"180A373D6AFBABF0EB1F09BE1BC45BD7-180A373D6AFBABF0EB1F09BE1BC45BD700000000"},
		{"180a373d6afbab00", "3D370A18FB6A00AB00000000000000000", "180a373d6afbab00000000000000000000000000",
			"180A373D6AFBAB-180A373D6AFBAB00000000000000000000000000"},
		{"180a0000", "00000A18000000000000000000000000" + "0", "180a000000000000000000000000000000000000",
			"180A0000-180A000000000000000000000000000000000000"},
	} {
		id, err := hex.DecodeString(c.id)
		if err != nil {
			t.Fatal(err)
		}
		s := &builds{shelf: &shelf{}}
		f := lookup.New(lookup.Config{Storage: s, Records: s})
		s.put("lib.so/"+c.debugID+"/lib.so", lookup.Program(id))
		s.put("lib.so/"+c.debugID+"/lib.so.DEBUG", lookup.Program(id))
		for _, q := range []lookup.Query{
			asked("lib.so", "elf-buildid-"+c.sent, "lib.so"), asked("LIB.SO", "ELF-BuildID-"+strings.ToUpper(c.sent), "lib.so"),
		} {
			found, err := f.Find(t.Context(), q)
			if got := found.Location.Key.File(); err != nil || got != "lib.so" || !found.IsBinary() || found.Moved {
				t.Errorf("%s: %q, %+v, %v", q.ID, got, found, err)
			}
		}
		found, err := f.Find(t.Context(), asked("_.debug", "elf-buildid-sym-"+c.sent, "_.debug"))
		if got := found.Location.Key.File(); err != nil || got != "lib.so.DEBUG" {
			t.Errorf("debug information of %s: %q, %v", c.sent, got, err)
		}
		if want := c.codeIDs + " false"; len(s.ranges) != 2 || s.ranges[0] != want || s.ranges[1] != want {
			t.Errorf("asked for code ids %q, want %s", s.ranges, want)
		}
		// debuginfod's clients know how long an id is.
		if c.sent != c.id {
			wantBinary(t, f, lookup.BinaryQuery{ID: c.sent, Kind: lookup.Executable}, upload.ErrNotFound)
		}
		wantBinary(t, f, lookup.BinaryQuery{ID: c.id, Kind: lookup.Executable}, nil)
	}
}

const (
	machUUID    = "497b72f6390a44fc878e5a2d63b6cc4b"
	machDebugID = "497B72F6390A44FC878E5A2D63B6CC4B0"
)

func TestMachOBySSQP(t *testing.T) {
	uuid, err := hex.DecodeString(machUUID)
	if err != nil {
		t.Fatal(err)
	}
	s := &builds{shelf: &shelf{}}
	f := lookup.New(lookup.Config{Storage: s, Records: s})
	s.put("XUL/"+machDebugID+"/XUL", lookup.MachO(false, uuid))
	s.put("XUL/"+machDebugID+"/XUL.dSYM.dwarf", lookup.MachO(true, uuid))
	s.put("other/"+machDebugID+"/XUL", lookup.MachO(false, slices.Repeat([]byte{7}, 16)))
	for id, want := range map[string]string{
		"mach-uuid-" + machUUID:                       "XUL/" + machDebugID + "/XUL",
		"Mach-UUID-" + strings.ToUpper(machUUID):      "XUL/" + machDebugID + "/XUL",
		"mach-uuid-sym-" + machUUID:                   "XUL/" + machDebugID + "/XUL.dSYM.dwarf",
		"elf-buildid-" + machUUID:                     "",
		"mach-uuid-" + strings.Repeat("07", 16):       "",
		"mach-uuid-" + machUUID + "00":                "",
		"mach-uuid-" + machUUID[:30]:                  "",
		"mach-uuid-" + strings.Repeat("00", 16):       "",
		"mach-uuid-coreclr-" + strings.Repeat("0", 8): "",
	} {
		found, err := f.Find(t.Context(), asked("_.dwarf", id, "_.dwarf"))
		if want == "" && !errors.Is(err, upload.ErrNotFound) || want != "" && (err != nil || found.Location.Key.String() != want) {
			t.Errorf("%s: %s, %v; want %s", id, found.Location.Key, err, want)
		}
	}
	if want := strings.ToUpper(machUUID) + "-" + strings.ToUpper(machUUID) + " false"; s.ranges[0] != want && !slices.Contains(s.ranges, want) {
		t.Errorf("asked for code ids %q, want %s among them", s.ranges, want)
	}
}

// Binaries of try uploads are found by a try lookup, after all regular ones.
func TestBinariesOfTryUploads(t *testing.T) {
	f, s := newShelf(t)
	s.put("try/app/AB/app", program(t))
	q := binaryQuery()
	wantBinary(t, f, q, upload.ErrNotFound)
	q.Try = true
	found, err := f.FindBinary(t.Context(), q)
	if err != nil || !found.Location.Try {
		t.Fatalf("%+v, %v", found, err)
	}
	file, err := f.Open(t.Context(), found)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	s.put("app/AB/app", program(t))
	q.Refresh = true
	if found, err := f.FindBinary(t.Context(), q); err != nil || found.Location.Try {
		t.Errorf("%+v, %v; want the regular one", found, err)
	}
}

// Where debug information is not for everybody, it is hidden by its name, whatever it is asked for by; in any case.
func TestDebugFilesAreHidden(t *testing.T) {
	for _, c := range []struct {
		extensions []string
		want       error
	}{{nil, nil}, {[]string{".sym", ".Debug"}, nil}, {[]string{".dbg.gz"}, nil}, {[]string{".sym", ".pdb"}, upload.ErrNotFound}} {
		_, s := newShelf(t)
		f := lookup.New(lookup.Config{Storage: s, Records: s, Extensions: c.extensions})
		s.put("app/AB/app.DBG", program(t))
		q := binaryQuery()
		q.Kind = lookup.DebugInfo
		wantBinary(t, f, q, c.want)
		if _, err := f.Find(t.Context(), asked("_.debug", "elf-buildid-sym-"+buildID, "_.debug")); !errors.Is(err, c.want) {
			t.Errorf("%q: %v", c.extensions, err)
		}
	}
}

// measured measures what is found, counting how often that is done.
func measured(t *testing.T, f *lookup.Finder, found lookup.Found, file lookup.File, count func(io.Reader) (int64, error)) (size int64, times int) {
	t.Helper()
	size = f.Measure(t.Context(), found, file, func(stored io.ReadSeeker) (int64, error) {
		times++
		return count(stored)
	})
	return size, times
}

// The size of what a gzip file holds is found out once, of each content.
func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newShelf(t)
		s.put("app/AB/app.dbg.gz", bytes.Repeat([]byte("x"), 1000))
		found := lookup.Found{Location: upload.Location{Key: mustKey(t, "app/AB/app.dbg.gz")}}
		file := lookup.File{Stored: 1000}
		count := func(r io.Reader) (int64, error) { n, err := io.Copy(io.Discard, r); return 7 * n, err }
		broken := func(io.Reader) (int64, error) { return 3, errors.New("broken") }
		away := func(io.Reader) (int64, error) { return 3, upload.ErrUnavailable }
		endless := func(r io.Reader) (int64, error) { // a read of a local file does not hear of the end of its context
			<-time.After(time.Hour)
			return io.Copy(io.Discard, r)
		}
		for i, c := range []struct {
			change func()
			count  func(io.Reader) (int64, error)
			size   int64
			times  int
		}{
			{nil, away, -1, 1},
			{nil, count, 7000, 1},
			{nil, count, 7000, 0},
			{func() { file.Object.Modified = time.Unix(7, 0) }, broken, -1, 1},
			{nil, broken, -1, 0},
			{func() { file.Object.MD5[0] = 1 }, endless, -1, 1},
			{nil, count, -1, 0},
			{func() { <-time.After(time.Minute) }, count, 7000, 1},
			{func() { s.contents = nil; file.Stored = 5 }, count, -1, 0},
		} {
			if c.change != nil {
				c.change()
			}
			if size, times := measured(t, f, found, file, c.count); size != c.size || times != c.times {
				t.Errorf("%d: %d bytes, measured %d times; want %d, %d", i, size, times, c.size, c.times)
			}
		}
	})
}
