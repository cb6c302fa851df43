package tarball

import (
	"runtime/debug"
	"sync"
	"time"

	"tecken-upload/internal/background"
)

// windows are those of all decoders in the process. Left to the runtime, as many bytes as live ones have would be held by
// dead ones, and for minutes after the last.
var windows = discarded{free: debug.FreeOSMemory}

const (
	// maxDiscarded is how many bytes of windows may be dead.
	maxDiscarded = 32 << 20
	// discardedFor is how long fewer may be.
	discardedFor = 5 * time.Second
)

// A discarded counts memory that is no longer used, and gives it back to the system.
type discarded struct {
	free func() // gives it back

	mu    sync.Mutex
	bytes int64
	timer *time.Timer // nil: nothing is to be given back
}

// discard counts n bytes more.
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
