package gate

import (
	"math"
	"time"
)

// How long what was measured counts. A short memory believes one big file to be the trend; a long one refuses uploads for
// what storage was like minutes ago.
const (
	// workHalfLife is after what time of saturation its measurement counts half.
	workHalfLife = time.Minute
	// slackHalfLife is the same for time without: slots are free then, and what was learned while they were not grows
	// doubtful.
	slackHalfLife = 15 * time.Second
)

// leastPiece is what a piece of work counts as at least, in bytes: a file of a few bytes costs a call to storage as a large one does, and a
// flood of those must not make the instance look too slow for other uploads.
const leastPiece = 32 << 10

// What must have been measured before the rate of work refuses an upload. Members are counted when they are done: with a few big ones
// under way, nothing is known from a few seconds and some small ones.
const (
	minSaturated  = 5.0      // seconds
	minBytes      = 64 << 20 // or, where there are fewer:
	longSaturated = 30.0     // seconds
)

// fade returns what remains of one after d, and the sum over d of what fades like that: in seconds, if it is one all the time.
func fade(d, halfLife time.Duration) (rest, sum float64) {
	if d <= 0 {
		return 1, 0
	}
	rest = math.Exp2(-d.Seconds() / halfLife.Seconds())
	return rest, halfLife.Seconds() / math.Ln2 * (1 - rest)
}

// later returns the later of two moments: observations made at once may come out of order.
func later(a, b time.Time) time.Time {
	if b.Before(a) {
		return a
	}
	return b
}

// workRate measures how many bytes of uploads are dealt with in a second, while there is more work than slots. What an
// instance does that is not saturated says nothing of what it could do.
type workRate struct {
	at        time.Time // of the last observation
	saturated bool      // then
	bytes     float64   // done in saturated time, faded; leastPiece or more for each piece
	seconds   float64   // of saturated time, faded alike
}

// advance observes the present, and reports whether the time since the last observation was saturated: at both its ends.
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

// worked observes that a piece of work is done, with so many bytes.
func (r *workRate) worked(now time.Time, saturated bool, bytes int64) {
	if r.advance(now, saturated) {
		r.bytes += float64(max(bytes, leastPiece))
	}
}

// perSecond returns the bytes per second as of the last observation; known is false where too little was measured.
func (r *workRate) perSecond() (rate float64, known bool) {
	if r.bytes <= 0 || r.seconds < minSaturated || r.bytes < minBytes && r.seconds < longSaturated {
		return 0, false
	}
	return r.bytes / r.seconds, true
}
