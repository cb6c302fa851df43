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
	timed bool // a timer returns it
}

// discard counts n more bytes.
func (w *discarded) discard(n int64) {
	if n == 0 {
		return
	}
	w.mu.Lock()
	w.bytes += n
	full := w.bytes >= maxDiscarded
	if !full && !w.timed {
		w.timed = true
		background.After(discardedFor, "decoder memory", func() {
			w.mu.Lock()
			w.timed = false
			w.mu.Unlock()
			w.giveBack()
		})
	}
	w.mu.Unlock()
	if full {
		w.giveBack()
	}
}

func (w *discarded) giveBack() {
	w.mu.Lock()
	some := w.bytes > 0
	w.bytes = 0
	w.mu.Unlock()
	if some {
		w.free()
	}
}
