package tarball

import (
	"runtime/debug"
	"sync"
	"time"

	"tecken-upload/internal/background"
)

// windows are those of all decoders in the process. The runtime would hold as many dead bytes as live ones, for minutes after the last.
var windows = discarded{free: debug.FreeOSMemory}

const (
	// maxDiscarded bounds the dead bytes of windows.
	maxDiscarded = 32 << 20
	// discardedFor is how long fewer may stay.
	discardedFor = 5 * time.Second
)

// A discarded counts unused memory, and returns it to the system.
type discarded struct {
	free func() // returns it

	mu    sync.Mutex
	bytes int64
	timer *time.Timer // nil: nothing to return
}

// discard counts n more bytes.
func (w *discarded) discard(n int64) {
	if n == 0 {
		return
	}
	w.mu.Lock()
	w.bytes += n
	full := w.bytes >= maxDiscarded
	if !full && w.timer == nil {
		w.timer = background.After(discardedFor, "decoder memory", w.giveBack)
	}
	w.mu.Unlock()
	if full {
		w.giveBack()
	}
}

func (w *discarded) giveBack() {
	w.mu.Lock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.bytes, w.timer = 0, nil
	w.mu.Unlock()
	w.free()
}
