package upload

import (
	"context"
	"time"
)

// A Report explains one upload that has ended.
type Report struct {
	Upload   Upload                  // as recorded, with its files
	Declared int64                   // the request's Content-Length; -1 when it had none
	Phases   map[Phase]time.Duration // how long each phase took; those not reached are missing
	Leftover error                   // what of the workspace could not be removed, and is left to the janitor
	Err      error                   // nil when Completed
	Stack    []byte                  // of a recovered panic; nil otherwise
}

// A Phase is a part of an upload's way.
type Phase string

// The phases, in their order.
const (
	PhaseReceive Phase = "receive"
	PhaseVerify  Phase = "verify"
	PhasePublish Phase = "publish"
	PhaseRecord  Phase = "record"
)

// Observer reports the ends of uploads. Implementations are safe for concurrent use and do not block on a network.
type Observer interface {
	// Ended is called once for each upload that Records.Begin was called for, after its end, whether a client waits for it or not.
	Ended(ctx context.Context, r *Report)
	// EndLost is called for each end that is not recorded, and never will be.
	EndLost(ctx context.Context, u *Upload, why Loss, err error)
}
