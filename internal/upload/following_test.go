package upload_test

import (
	"archive/tar"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"tecken-upload/internal/sched"
	"tecken-upload/internal/upload"
)

// A slowTar arrives in part, and further once the test says so.
type slowTar struct {
	*io.PipeWriter
	rest string
}

// arriving begins an upload of a tar.zst whose decoder needs 10 MiB, and lets more of it arrive than the spool writes at once.
func (h *house) arriving() (slow *slowTar, ended <-chan *upload.Report) {
	h.Helper()
	const member, first = 600_000, 300_000
	noise := make([]byte, member)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	var b strings.Builder
	writer := tar.NewWriter(&b)
	err := writer.WriteHeader(&tar.Header{Name: "a.pdb/AA/a.pdb", Size: member, Mode: 0o644})
	if err == nil {
		_, err = writer.Write(noise)
	}
	err = errors.Join(err, writer.Close())
	content, readErr := io.ReadAll(zstOf(h.T, map[int]string{1 << 20: b.String()}))
	ws, wsErr := h.spool.Create(h.Context(), -1)
	if err = errors.Join(err, readErr, wsErr); err != nil {
		h.Fatal(err)
	}
	r, w := io.Pipe()
	end := make(chan *upload.Report, 1)
	req := upload.Request{Token: regular, Declared: -1, Pass: &pass{ws: ws}, Source: upload.Archive(source{content: r})}
	go func() { end <- h.service.Run(h.Context(), req) }()
	if _, err := w.Write(content[:first]); err != nil {
		h.Fatal(err)
	}
	synctest.Wait()
	return &slowTar{w, string(content[first:])}, end
}

// arrives lets the rest arrive.
func (s *slowTar) arrives(t *testing.T) {
	t.Helper()
	if _, err := s.Write([]byte(s.rest)); err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// inHouse runs a test in a bubble, in a house with memory to spare for one decoder, and checks that all memory is free in the end.
func inHouse(t *testing.T, test func(h *house, decoders *sched.Scheduler)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		decoders := sched.New(sched.Options{Slots: 10})
		h.config.DecoderSlots, h.config.SpareMemory = decoders, 10<<20
		h.service = upload.NewService(h.config)
		test(h, decoders)
		if s := decoders.Stats(); s.Busy != 0 || s.Waiting != 0 {
			t.Errorf("slots are left in use: %+v", s)
		}
	})
}

// A tar that arrives holds no memory that others wait for. One that was followed waits for none, when it is there and others have it all.
func TestAFollowedTarHasMemoryOfItsOwn(t *testing.T) {
	inHouse(t, func(h *house, decoders *sched.Scheduler) {
		slow, ended := h.arriving()
		if s := decoders.Stats(); s.Busy != 0 || s.Waiting != 0 {
			t.Errorf("a tar that arrives has %d slots and waits for %d", s.Busy, s.Waiting)
		}
		all, err := decoders.Acquire(h.Context(), sched.Task{Slots: 10})
		if err != nil {
			t.Fatal(err)
		}
		slow.arrives(t)
		if r := <-ended; r.Err != nil {
			t.Error(r.Err)
		}
		all.Release()
	})
}

// A tar without memory to spare is verified once it is there.
func TestATarThatIsNotFollowedWaitsForMemory(t *testing.T) {
	inHouse(t, func(h *house, decoders *sched.Scheduler) {
		first, firstEnded := h.arriving()
		second, secondEnded := h.arriving()
		all, err := decoders.Acquire(h.Context(), sched.Task{Slots: 10})
		if err != nil {
			t.Fatal(err)
		}
		second.arrives(t)
		synctest.Wait()
		if s := decoders.Stats(); s.Waiting != 1 {
			t.Errorf("%d archives wait for memory", s.Waiting)
		}
		all.Release()
		if r := <-secondEnded; r.Err != nil {
			t.Error(r.Err)
		}
		first.arrives(t)
		if r := <-firstEnded; r.Err != nil {
			t.Error(r.Err)
		}
	})
}

// A client that hangs up, and a broken tar, give back what was to spare for them.
func TestSpareMemoryIsGivenBack(t *testing.T) {
	gone := errors.New("gone")
	for name, end := range map[string]func(t *testing.T, slow *slowTar){
		"hangs up": func(_ *testing.T, slow *slowTar) { _ = slow.CloseWithError(gone) },
		"broken": func(t *testing.T, slow *slowTar) {
			slow.rest = strings.Repeat("x", len(slow.rest))
			slow.arrives(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house, decoders *sched.Scheduler) {
				slow, ended := h.arriving()
				end(t, slow)
				if r := <-ended; r.Err == nil {
					t.Error("an upload that was not whole is completed")
				}
				all, err := decoders.Acquire(h.Context(), sched.Task{Slots: 10})
				if err != nil {
					t.Fatal(err)
				}
				slow, ended = h.arriving()
				slow.arrives(t)
				if r := <-ended; r.Err != nil { // for want of memory
					t.Error(r.Err)
				}
				all.Release()
			})
		})
	}
}
