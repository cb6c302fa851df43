package gate

import (
	"math"
	"time"
)

// How long measurements count. With a short memory one big file looks like a trend; with a long one uploads are refused for what storage
// was minutes ago.
const (
	// workHalfLife is the half-life of a measurement in saturated time.
	workHalfLife = time.Minute
	// slackHalfLife is the half-life in other time: slots are free then, and old measurements grow doubtful.
	slackHalfLife = 15 * time.Second
)

// leastPiece is the least count of a piece of work, in bytes: a tiny file costs a call to storage like a large one, and a flood of them
// must not make the instance look too slow for other uploads.
const leastPiece = 32 << 10

// What must have been measured before the rate of work refuses an upload. Members are counted when they are done: with a few big ones
// under way, nothing is known from a few seconds and some small ones.
const (
	minSaturated  = 5.0      // seconds
	minBytes      = 64 << 20 // or, with fewer:
	longSaturated = 30.0     // seconds
)

// fade returns what remains of one after d, and the sum over d of what fades like that: seconds, for a constant one.
func fade(d, halfLife time.Duration) (rest, sum float64) {
	if d <= 0 {
		return 1, 0
	}
	rest = math.Exp2(-d.Seconds() / halfLife.Seconds())
	return rest, halfLife.Seconds() / math.Ln2 * (1 - rest)
}

// later returns the later of two times: simultaneous observations may come out of order.
func later(a, b time.Time) time.Time {
	if b.Before(a) {
		return a
	}
	return b
}

// workRate measures the bytes of uploads finished in a second, while there is more work than slots. An instance that is not saturated does
// not show its capacity.
type workRate struct {
	at        time.Time // of the last observation
	saturated bool      // then
	bytes     float64   // finished in saturated time, faded; at least leastPiece for each piece
	seconds   float64   // saturated time, faded alike
}

// advance observes the present, and reports whether the time since the last observation was saturated at both ends.
func (r *workRate) advance(now time.Time, saturated bool) bool {
	counts := r.saturated && saturated
	halfLife := slackHalfLife
	if counts {
		halfLife = workHalfLife
	}
	rest, sum := fade(now.Sub(r.at), halfLife)
	r.bytes *= rest
	r.seconds *= rest
	if counts {
		r.seconds += sum
	}
	r.at, r.saturated = later(r.at, now), saturated
	return counts
}

// worked observes a finished piece of work, with its bytes.
func (r *workRate) worked(now time.Time, saturated bool, bytes int64) {
	if r.advance(now, saturated) {
		r.bytes += float64(max(bytes, leastPiece))
	}
}

// perSecond returns the bytes per second as of the last observation; known is false if too little was measured.
func (r *workRate) perSecond() (rate float64, known bool) {
	if r.bytes <= 0 || r.seconds < minSaturated || r.bytes < minBytes && r.seconds < longSaturated {
		return 0, false
	}
	return r.bytes / r.seconds, true
}
