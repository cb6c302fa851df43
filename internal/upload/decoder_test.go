package upload_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"tecken-upload/internal/sched"
	"tecken-upload/internal/upload"
)

// countedSlots notes how many slots each task took.
type countedSlots struct {
	upload.Slots
	mu    sync.Mutex
	taken []int
}

func (c *countedSlots) Acquire(ctx context.Context, task sched.Task) (*sched.Slot, error) {
	c.mu.Lock()
	c.taken = append(c.taken, task.Slots)
	c.mu.Unlock()
	return c.Slots.Acquire(ctx, task)
}

// zstOf compresses parts one after the other, each with a window of its own.
func zstOf(t testing.TB, parts map[int]string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	windows := make([]int, 0, len(parts))
	for window := range parts {
		windows = append(windows, window)
	}
	slices.Sort(windows)
	for _, window := range windows {
		w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
		if err == nil {
			_, err = io.WriteString(w, parts[window])
		}
		if err = errors.Join(err, w.Flush(), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return &b
}

// plainTar is a tar of a member, a hard link to it, and nothing else.
func plainTar(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: "a/AA/a.sym", Size: int64(len(sym)), Mode: 0o644})
	if err == nil {
		_, err = io.WriteString(w, sym)
	}
	link := w.WriteHeader(&tar.Header{Name: "b/BB/b.pdb", Typeflag: tar.TypeLink, Linkname: "a/AA/a.sym"})
	if err = errors.Join(err, link, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A decoder holds as many slots as it may take memory, and all of them are free when the upload has ended.
func TestDecodersHoldWhatTheyTake(t *testing.T) {
	data := plainTar(t)
	for name, c := range map[string]struct {
		content io.Reader
		want    []int
	}{
		"plain":              {strings.NewReader(data), nil}, // it was followed
		"a usual window":     {zstOf(t, map[int]string{1 << 20: data}), []int{10}},
		"a large one":        {zstOf(t, map[int]string{64 << 20: data}), []int{66}},
		"a large one later":  {zstOf(t, map[int]string{1 << 20: data[:1024], 64 << 20: data[1024:]}), []int{10, 130}},
		"a larger one later": {zstOf(t, map[int]string{1 << 20: data[:1024], 256 << 20: data[1024:]}), []int{10, 130}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			decoders := sched.New(sched.Options{Slots: 256, PerTenant: 128})
			counted := &countedSlots{Slots: decoders}
			h.config.DecoderSlots = counted
			h.service = upload.NewService(h.config)
			r := h.post(t.Context(), regular, source{content: c.content})
			want := upload.Completed
			if name == "a larger one later" {
				want = upload.Rejected
			}
			if r.Upload.Outcome != want {
				t.Errorf("outcome %q: %v", r.Upload.Outcome, r.Err)
			}
			if diff := cmp.Diff(c.want, counted.taken); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
			if s := decoders.Stats(); s.Busy != 0 || s.Waiting != 0 {
				t.Errorf("slots are left in use: %+v", s)
			}
		})
	}
}

// A hard link is stored as a file of its own, whether its target is new or not.
func TestHardLinksAreStored(t *testing.T) {
	h := newHouse(t)
	for _, want := range []upload.FileState{upload.FileUploaded, upload.FileSkipped} {
		u := h.complete(regular, source{content: strings.NewReader(plainTar(t))})
		if diff := cmp.Diff(map[string]upload.FileState{"a/AA/a.sym": want, "b/BB/b.pdb": want}, states(u)); diff != "" {
			t.Errorf("states differ (-want +got):\n%s", diff)
		}
		for _, name := range []string{"a/AA/a.sym", "b/BB/b.pdb"} {
			if got, ok := h.stored(name, false); !ok || got != sym {
				t.Errorf("%s is stored as %q", name, got)
			}
		}
	}
}

// A .sym without a debug id is stored, and named in the answer, by its code id.
func TestNullIDsAreStoredByCodeID(t *testing.T) {
	h := newHouse(t)
	const null = "000000000000000000000000000000000"
	text := "MODULE windows x86_64 " + null + " app.exe\nINFO CODE_ID 5cf2591c6859000 App.exe\n"
	u := h.complete(regular, source{content: zipOf(t, map[string]string{"app.exe/" + null + "/app.sym": text, "app.exe/" + null + "/app.exe": "MZ"}, 0)})
	want := map[string]upload.FileState{"App.exe/5CF2591C6859000/app.sym": upload.FileUploaded, "app.exe/" + null + "/app.exe": upload.FileIgnored}
	if diff := cmp.Diff(want, states(u)); diff != "" {
		t.Errorf("states differ (-want +got):\n%s", diff)
	}
	if got, ok := h.stored("App.exe/5CF2591C6859000/app.sym", false); !ok || got != text {
		t.Errorf("stored %q", got)
	}
}
