package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tecken-upload/internal/lab"
)

const (
	// Between two faults of one part are leastGap to mostGap; one that lasts does so for leastLast to mostLast.
	leastGap, mostGap   = 100 * time.Millisecond, 1200 * time.Millisecond
	leastLast, mostLast = 50 * time.Millisecond, 1200 * time.Millisecond
	// serverShare is in how many of 100 rounds the server is killed; in others one server must live through everything.
	serverShare = 80
	// otherParts is how many other parts have faults in a round, at most.
	otherParts = 4
)

// A step is a fault that is due.
type step struct {
	fault lab.Fault
	at    time.Duration // since the round's beginning
	lasts time.Duration
	seed  uint64
}

// plan decides what befalls the parts of a site in a round, each by itself.
func plan(random *rand.Rand, faults []lab.Fault, length time.Duration) map[lab.Part][]step {
	byPart := make(map[lab.Part][]lab.Fault)
	var others []lab.Part
	for _, f := range faults {
		byPart[f.Part] = append(byPart[f.Part], f)
		if f.Part != lab.ServerPart && !slices.Contains(others, f.Part) {
			others = append(others, f.Part)
		}
	}
	random.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	parts := others[:min(len(others), random.IntN(otherParts+1))]
	if random.IntN(100) < serverShare || len(parts) == 0 {
		parts = append(parts, lab.ServerPart)
	}
	steps := make(map[lab.Part][]step)
	for _, part := range parts {
		for at := between(random, leastGap, mostGap); at < length; at += between(random, leastGap, mostGap) {
			s := step{fault: choose(random, byPart[part]), at: at, seed: random.Uint64()}
			if s.fault.Lasts {
				s.lasts = between(random, leastLast, mostLast)
			}
			steps[part] = append(steps[part], s)
			at += s.lasts
		}
	}
	return steps
}

// choose draws a fault of a part. The server's is kill -9, two times of three.
func choose(random *rand.Rand, faults []lab.Fault) lab.Fault {
	if faults[0].Part == lab.ServerPart && random.IntN(3) > 0 {
		return faults[0]
	}
	return faults[random.IntN(len(faults))]
}

func between(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)))
}

func TestPlanFollowsFromTheSeed(t *testing.T) {
	var faults []lab.Fault
	for _, part := range []lab.Part{lab.ServerPart, lab.SpoolPart, lab.S3Part, lab.RedisPart} {
		faults = append(faults, lab.Fault{Name: "moment", Part: part}, lab.Fault{Name: "while", Part: part, Lasts: true})
	}
	describe := func(seed uint64) (rows []string) {
		for part, steps := range plan(rand.New(rand.NewPCG(seed, 0)), faults, time.Minute) {
			var end time.Duration
			for _, s := range steps {
				if s.fault.Part != part || s.at < end+leastGap || s.at >= time.Minute || s.fault.Lasts != (s.lasts >= leastLast) {
					t.Errorf("seed %d, %s: %+v is due %v after another's end", seed, part, s, s.at-end)
				}
				end = s.at + s.lasts
				rows = append(rows, fmt.Sprint(part, s.fault.Name, s.at, s.lasts, s.seed))
			}
		}
		slices.Sort(rows)
		return rows
	}
	for seed := range uint64(20) {
		if first, second := describe(seed), describe(seed); len(first) < 30 || !slices.Equal(first, second) {
			t.Errorf("seed %d: %d steps, then %d others", seed, len(first), len(second))
		}
	}
}
