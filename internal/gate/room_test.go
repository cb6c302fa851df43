package gate

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/spool"
	"tecken-upload/internal/spool/spooltest"
	"tecken-upload/internal/upload"
)

func TestRoomOnDiskIsWaitedFor(t *testing.T) {
	onSmallDisk(t, func(h *house) {
		first := h.enter(1, 40*mib)
		second := h.try(h.Context(), tenantOf(1, 1), 40*mib)
		<-time.After(3 * time.Second)
		h.pending(second)
		if !first.Contended() {
			h.Error("one waits, and the first is not in the way")
		}
		first.end()
		r := <-second
		if r.err != nil || r.at != 3*time.Second {
			h.Fatalf("%v after %v", r.err, r.at)
		}
		late := <-h.try(h.Context(), tenantOf(1, 1), 40*mib)
		if busy := h.refused(late.err); busy.OverLimit || late.at != 10*time.Second || busy.Lack != upload.LackSpool {
			h.Errorf("after %v: %+v", late.at, busy)
		}
		r.end()
	}, func(c *Config) { c.ReceivingSlots = 100 })
}

// Room that another program leaves comes without an event.
func TestRoomThatOtherProgramsLeave(t *testing.T) {
	onSmallDisk(t, func(h *house) {
		foreign := filepath.Join(h.dir, "..", "foreign")
		if err := os.WriteFile(foreign, make([]byte, 20*mib), 0o600); err != nil {
			h.Fatal(err)
		}
		first := h.enter(1, 10*mib)
		second := h.try(h.Context(), tenantOf(1, 1), 40*mib)
		<-time.After(time.Second)
		h.pending(second)
		if err := os.Remove(foreign); err != nil {
			h.Fatal(err)
		}
		r := <-second
		if r.err != nil || r.at > time.Second+tick {
			h.Fatalf("%v after %v", r.err, r.at)
		}
		r.end()
		first.end()
	})
}

func TestWhatNeverFitsIsRefusedAtOnce(t *testing.T) {
	onSmallDisk(t, func(h *house) {
		first := h.enter(1, 40*mib)
		r := <-h.try(h.Context(), tenantOf(1, 1), 65*mib)
		if limit, ok := errors.AsType[*spool.LimitError](r.err); !ok || limit.Limit != 64*mib || errors.Is(r.err, upload.ErrUnavailable) || r.at != 0 {
			h.Errorf("more than there is on the disk, after %v: %v", r.at, r.err)
		}
		junk := filepath.Join(h.dir, "..", "junk")
		if err := os.WriteFile(junk, make([]byte, 10*mib), 0o600); err != nil {
			h.Fatal(err)
		}
		r = <-h.try(h.Context(), tenantOf(1, 1), 55*mib)
		full, ok := errors.AsType[*spool.FullError](r.err)
		if !ok || full.Busy || errors.Is(r.err, upload.ErrBusy) || r.at != 0 {
			h.Errorf("more than others leave of the disk, after %v: %v", r.at, r.err)
		}
		if err := os.Remove(junk); err != nil {
			h.Fatal(err)
		}
		first.end()
		h.enter(1, -1).end()
	})
}

func TestAnUploadOfUnknownSize(t *testing.T) {
	dir := spooltest.Tmpfs(t, "size=9m")
	synctest.Test(t, func(t *testing.T) {
		h := houseIn(t, filepath.Join(dir, "spool"))
		first := h.enter(1, -1) // the spool has 8 MiB: room for a small one
		if st := h.gate.Stats(); st.Unfinished != 16*mib {
			t.Errorf("%+v", st)
		}
		first.Received(mib)
		if st := h.gate.Stats(); st.Unfinished != mib {
			t.Errorf("once it is known: %+v", st)
		}
		first.end()
	})
}

// An upload of unknown size counts as its current size, in the spool and in time.
func TestAnUploadOfUnknownSizeThatGrows(t *testing.T) {
	onSmallDisk(t, func(h *house) {
		first := h.enter(1, -1)
		body, sender := io.Pipe()
		received := make(chan error)
		go func() {
			_, err := first.Workspace().Receive(h.Context(), body, 1<<30, nil)
			received <- err
		}()
		if _, err := sender.Write(make([]byte, 41*mib)); err != nil {
			h.Fatal(err)
		}
		synctest.Wait()
		if st := h.gate.Stats(); st.Unfinished != 48*mib {
			h.Errorf("of 41 MiB: %+v", st)
		}
		other := h.enter(2, mib)
		blocked := h.try(h.Context(), tenantOf(1, 1), mib)
		<-time.After(time.Second)
		h.pending(blocked) // it has its share of the spool
		sender.Close()
		if err := <-received; err != nil {
			h.Fatal(err)
		}
		first.Received(41 * mib)
		let := <-blocked
		if st := h.gate.Stats(); let.err != nil || st.Unfinished != 43*mib {
			h.Fatalf("once it is there: %v, %+v", let.err, st)
		}
		let.end()
		other.end()
		first.end()
	}, func(c *Config) { c.ReceivingSlots = 100 })
}

// An upload that is refused the room it needs more is in the way of none, but others are in its: that shows while it waits, and for a
// while after.
func TestAnUploadThatIsRefusedMoreRoom(t *testing.T) {
	onSmallDisk(t, func(h *house) {
		large, growing := h.enter(1, 44*mib), h.enter(2, -1)
		body, sender := io.Pipe()
		received := make(chan error, 1)
		go func() {
			_, err := growing.Workspace().Receive(h.Context(), body, 1<<30, nil)
			received <- errors.Join(err, body.Close())
		}()
		go func() { _, _ = sender.Write(make([]byte, 30*mib)) }()
		synctest.Wait()
		late := h.try(h.Context(), tenantOf(3, 1), mib) // would fit
		<-time.After(time.Second)
		h.pending(late)
		if !large.Contended() {
			h.Error("one waits for more room, and the large one is not in the way")
		}
		if err := <-received; !errors.Is(err, spool.ErrFull) {
			h.Errorf("it got %v", err)
		}
		growing.end()
		(<-late).end()
		if at := h.gate.Stats().TurnedAway; at.IsZero() || !large.Contended() {
			h.Errorf("one was refused more room: shown at %v, contended %t", at, large.Contended())
		}
		<-time.After(refusalMemory)
		if large.Contended() {
			h.Error("contended for ever")
		}
		large.end()
	}, func(c *Config) { c.ReceivingSlots, c.Wait = 100, 20*time.Second })
}

func TestTheLastQuarterOfTheReceivingSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots = 8 })
		var all []*admitted
		for range 6 {
			all = append(all, h.enter(1, 1)) // alone, but another tenant may come
		}
		h.refused((<-h.try(t.Context(), tenantOf(1, 1), 1)).err)
		all = append(all, h.enter(2, 1))
		third := h.try(t.Context(), tenantOf(1, 1), 1)
		<-time.After(5 * time.Second)
		h.pending(third) // there is a slot, but not for tenants that have their share
		all = append(all, h.enter(2, 1))
		fourth := h.try(t.Context(), tenantOf(3, 1), 1)
		<-time.After(time.Second)
		all[0].end()
		r := <-fourth
		if r.err != nil || r.at != time.Second {
			t.Fatalf("a newcomer: %v after %v", r.err, r.at)
		}
		all = append(all[1:], r.admitted)
		if h.refused((<-third).err).OverLimit {
			t.Error("it is not its limit")
		}
		for _, a := range all {
			a.end()
		}
	})
}

func TestTheLastQuarterOfTheSpool(t *testing.T) {
	onSmallDisk(t, func(h *house) {
		mine := []*admitted{h.enter(1, 40*mib)}
		other := h.enter(2, mib)
		blocked := h.try(h.Context(), tenantOf(1, 1), 10*mib)
		<-time.After(time.Second)
		h.pending(blocked)
		mine = append(mine, h.enter(2, 10*mib)) // passes it
		<-time.After(time.Second)
		mine[1].end()
		other.end()
		<-time.After(time.Second)
		h.pending(blocked) // it is alone, but another tenant may come
		mine[0].end()
		r := <-blocked
		if r.err != nil || r.at != 3*time.Second {
			h.Fatalf("%v after %v", r.err, r.at)
		}
		r.end()
	}, func(c *Config) { c.ReceivingSlots = 100 })
}

func TestAWeightedShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.ReceivingSlots = 8 })
		var all []*admitted
		enter := func(id int64, weight int) error {
			r := <-h.try(t.Context(), tenantOf(id, weight), 1)
			if r.err == nil {
				all = append(all, r.admitted)
			}
			return r.err
		}
		for range 2 {
			if err := enter(1, 1); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 { // of eight slots, 4.8 are its share, with one kept for a newcomer
			if err := enter(2, 3); err != nil {
				t.Fatal(err)
			}
		}
		h.refused(enter(2, 3))
		h.refused(enter(1, 1)) // which has more than its share
		if err := enter(3, 1); err != nil {
			t.Error(err)
		}
		for _, a := range all {
			a.end()
		}
	})
}

// Room that is about to be reserved is not given twice.
func TestAWorkspaceThatTakesTimeToMake(t *testing.T) {
	onSmallDisk(t, func(h *house) {
		h.gate.config.Spool = &brokenSpool{Spool: h.spool, create: func(ctx context.Context, size int64) (*spool.Workspace, error) {
			<-time.After(3 * time.Second)
			return h.spool.Create(ctx, size)
		}}
		both := []<-chan result{h.try(h.Context(), tenantOf(1, 1), 40*mib), h.try(h.Context(), tenantOf(1, 1), 40*mib)}
		<-time.After(time.Second)
		if st := h.gate.Stats(); st.Receiving != 1 || st.Waiting != 1 {
			h.Errorf("%+v", st)
		}
		var at []time.Duration
		for range both {
			var r result
			select {
			case r = <-both[0]:
			case r = <-both[1]:
			}
			r.end()
			at = append(at, r.at)
		}
		if !slices.Equal(at, []time.Duration{3 * time.Second, 6 * time.Second}) {
			h.Errorf("let in after %v", at)
		}
	})
}
