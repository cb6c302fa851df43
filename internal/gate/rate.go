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
	// turnoverHalfLife is the same for how fast places come back: uploads hold them for minutes.
	turnoverHalfLife = 2 * time.Minute
)

// leastPiece is what a piece of work counts as at least, in bytes, where it is told what this instance can do: verifying a
// member is one, and publishing it another, which together pay the scheduler twice that for a tiny one.
const leastPiece = 32 << 10

// What must have been measured before the rate of work refuses anybody. Members are counted when they are done: with a few big ones
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

// later returns the later of two moments: those who observe at once may come out of order.
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
	bytes     float64   // done in saturated time, faded
	charged   float64   // the same, but a piece of work counts as leastPiece or more
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
	r.charged *= rest
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
		r.bytes += float64(bytes)
		r.charged += float64(max(bytes, leastPiece))
	}
}

// perSecond returns the bytes per second as of the last observation; known is false where too little was measured.
func (r *workRate) perSecond() (rate float64, known bool) {
	if r.bytes <= 0 || r.seconds < minSaturated || r.bytes < minBytes && r.seconds < longSaturated {
		return 0, false
	}
	return r.bytes / r.seconds, true
}

// capacity returns what the bytes per second would be if no piece of work were a tiny one. It is known where the rate is.
func (r *workRate) capacity() float64 { return r.charged / max(r.seconds, minSaturated) }

// turnover measures how fast what is held is given back, whatever there is of it: a place, a byte, an upload. It takes the
// share that comes back in a second, so that a quiet hour does not make a full house look slow.
type turnover struct {
	at   time.Time
	held float64 // now
	sum  float64 // of what was held, times seconds, faded
	back float64 // what was given back, faded alike
}

func (t *turnover) advance(now time.Time) {
	rest, sum := fade(now.Sub(t.at), turnoverHalfLife)
	t.sum = t.sum*rest + t.held*sum
	t.back *= rest
	t.at = later(t.at, now)
}

// change notes that so much more is held, or that less than nothing has been given back.
func (t *turnover) change(now time.Time, more float64) {
	t.advance(now)
	t.held += more
	t.back += max(0, -more)
}

// correct notes that what is held was counted wrongly by so much.
func (t *turnover) correct(now time.Time, more float64) {
	t.advance(now)
	t.held += more
}

// perSecond returns how much comes back in a second at present; 0 where that is not known.
func (t *turnover) perSecond(now time.Time) float64 {
	t.advance(now)
	if t.sum <= 0 || t.back < minBack*t.held {
		return 0
	}
	return t.held * t.back / t.sum
}

// minBack is the part of what is held that must have come back not long ago, for a rate to be known.
const minBack = 1e-3
