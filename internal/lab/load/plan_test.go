package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// How a client behaves, in shares of 100.
const (
	slowShare     = 10 // of uploads arrive over some seconds
	commonShare   = 27 // of uploads are of what others upload too, as in the field
	chunkedShare  = 10 // of uploads do not tell their size
	expectShare   = 10 // of uploads ask whether to send their body, as curl does
	largeShare    = 8  // of uploads
	patientShare  = 30 // of clients honour Retry-After, and do not give up
	commonCount   = 16 // variants of a template that are common
	common        = 0xffff
	firstBackOff  = time.Second
	mostAttempts  = 5 // of an impatient client: it gives up after about 15 s of back-off
	longestThink  = time.Second
	longestLinger = 2 * time.Second // of a client that goes after its last byte
)

// A job is one upload as its client plans it. All jobs of a run follow from its seed.
type job struct {
	client, number int
	template       *template
	variant        uint32
	send           time.Duration // how long to take for the body; 0: as fast as may be
	cut            *cut          // nil for one that waits for its answer
	chunked        bool
	expect         bool
	think          time.Duration // before it
	jitter         float64       // of the back-off, 0.5 to 1.5
}

// A cut says where an upload ends before its time.
type cut struct {
	share  float64       // of the body that is sent
	linger time.Duration // until the connection goes
	reset  bool          // it goes with a reset, instead of a close
}

// label tells the n-th attempt of a job from all others; it is recorded with the upload.
func (j *job) label(attempt int) string {
	return fmt.Sprintf("c%d.u%d.a%d", j.client, j.number, attempt)
}

// A planner makes the jobs of one client.
type planner struct {
	client  int
	random  *rand.Rand
	small   []*template
	large   []*template
	giant   *template // to be uploaded once; nil for most
	longest time.Duration
	cuts    int // of 100 uploads end before their answer
	next    int
}

// newPlanners makes those of all clients.
func newPlanners(o options, templates []*template, giants int) []*planner {
	var small, large []*template
	for _, t := range templates[:len(templates)-giants] {
		if t.small {
			small = append(small, t)
		} else {
			large = append(large, t)
		}
	}
	planners := make([]*planner, o.clients)
	for i := range planners {
		planners[i] = &planner{
			client: i, small: small, large: large, cuts: o.hangUps,
			random:  rand.New(rand.NewPCG(o.seed, uint64(i)+1)),
			longest: min(20*time.Second, o.time/4),
		}
	}
	for i, t := range templates[len(templates)-giants:] {
		// Of patient clients, and of different tenants.
		planners[min(len(planners)-1, i*len(planners)*8/10)].giant = t
	}
	return planners
}

// patient reports whether the client honours Retry-After.
func (p *planner) patient() bool { return p.client%10 < patientShare/10 }

// plan makes the next job.
func (p *planner) plan() *job {
	r := p.random
	j := &job{client: p.client, number: p.next, template: p.small[r.IntN(len(p.small))]}
	p.next++
	if r.IntN(100) < largeShare {
		j.template = p.large[r.IntN(len(p.large))]
	}
	j.variant = uint32(p.client)<<16 | uint32(j.number)
	if r.IntN(100) < commonShare {
		j.variant = common<<16 | uint32(r.IntN(commonCount))
	}
	if r.IntN(100) < slowShare {
		j.send = p.longest/8 + time.Duration(r.Int64N(int64(p.longest)))
	}
	if r.IntN(100) < p.cuts {
		j.cut = &cut{share: r.Float64(), reset: r.IntN(2) == 0}
		if r.IntN(3) == 0 {
			j.cut.share, j.cut.linger = 1, time.Duration(r.Int64N(int64(longestLinger)))
		}
	}
	j.chunked = r.IntN(100) < chunkedShare
	j.expect = r.IntN(100) < expectShare
	j.think = time.Duration(r.Int64N(int64(longestThink)))
	j.jitter = 0.5 + r.Float64()
	if p.giant != nil && j.number == 1 {
		j.template, j.cut, j.send = p.giant, nil, 0
	}
	if !j.template.varied() {
		j.variant = 0
	}
	return j
}

// backOff is how long to wait after a refusal; attempt counts from 0.
func (j *job) backOff(attempt int, patient bool, told time.Duration) time.Duration {
	if patient {
		return told
	}
	return time.Duration(j.jitter * float64(firstBackOff<<attempt))
}
