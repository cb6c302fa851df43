package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/lab"
)

// patience bounds every wait for what should be so soon. It is reached only when something is wrong.
const patience = 3 * time.Minute

// A round is one site with clients and faults.
type round struct {
	*testing.T
	number  int
	site    *lab.Site
	clients []*client

	mu       sync.Mutex // guards what follows
	attempts []lab.Attempt
	tally    *tally
}

// playRound plays a round in dir, which it removes where nothing is wrong, and counts what happened.
func playRound(t *testing.T, number int, k kind, dir string, counted *tally) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir) // all of it is removed in the end
		}
	})
	r := &round{T: t, number: number, tally: counted, site: lab.Open(t, lab.Config{
		Dir: dir, Storage: k.storage, Database: k.database, Redis: k.redis, ForFaults: true, Settings: settings,
	})}
	r.site.StartServer()
	r.site.StartJanitor()
	for i := range clients {
		name := fmt.Sprintf("c%d", i)
		r.clients = append(r.clients, &client{
			round: r, number: i, name: name, token: r.site.Token(name + "@example.com"), random: r.random(1 + i),
		})
	}
	r.insist()
	if !t.Failed() {
		r.play()
		r.judge()
	}
}

// random returns a source of a round's random numbers.
func (r *round) random(n int) *rand.Rand {
	return rand.New(rand.NewPCG(*seed, uint64(r.number)<<16+uint64(n)))
}

// done notes an attempt.
func (r *round) done(a lab.Attempt) {
	if err := a.Contradiction(a.Upload); err != nil {
		r.Errorf("upload %s: %v", a.Label, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, a)
	r.tally.attempt(a)
}

// insist has each client upload something until it is accepted.
func (r *round) insist() {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	var g sync.WaitGroup
	for _, c := range r.clients {
		g.Go(func() { c.insist(ctx) })
	}
	g.Wait()
}

// play lets the clients work while the faults come that are planned.
func (r *round) play() {
	working, stop := context.WithTimeout(r.Context(), *length)
	defer stop()
	steps := plan(r.random(0), r.site.Faults(r.Context()), *length)
	begin := time.Now()
	var g sync.WaitGroup
	for _, c := range r.clients {
		g.Go(func() { c.work(working) })
	}
	for _, row := range steps {
		g.Go(func() {
			for _, s := range row {
				lab.Pause(working, time.Until(begin.Add(s.at)))
				if working.Err() != nil {
					break
				}
				r.befall(working, s)
			}
		})
	}
	g.Wait()
}

// befall does a fault, and undoes it when its time is over.
func (r *round) befall(working context.Context, s step) {
	undo, err := s.fault.Do(r.Context(), rand.New(rand.NewPCG(s.seed, 0)))
	if errors.Is(err, lab.ErrMissed) {
		return
	}
	if err != nil {
		r.Errorf("%s: %v", s.fault.Name, err)
		return
	}
	r.mu.Lock()
	r.tally.faults[s.fault.Name]++
	r.mu.Unlock()
	if undo == nil {
		return
	}
	lab.Pause(working, s.lasts)
	if err := undo(r.Context()); err != nil {
		r.Errorf("undo %s: %v", s.fault.Name, err)
	}
}

// judge looks at what must be so once all faults are undone.
func (r *round) judge() {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if err := errors.Join(r.site.Server.Serving(ctx), r.site.Janitor.Serving(ctx)); err != nil {
		r.Fatalf("with all faults undone: %v", err)
	}
	if err := lab.Await(ctx, r.site.Instance().Healthy); err != nil {
		r.Errorf("with all faults undone the server does not become healthy: %v", err)
	}
	r.insist()
	if err := lab.Await(ctx, r.site.Instance().AtRest); err != nil {
		r.Errorf("with all faults undone, and no upload in progress: %v", err)
	}
	for name, service := range map[string]*lab.Service{"the server": r.site.Server, "the disk manager": r.site.Janitor} {
		if err := service.Stop(); err != nil {
			r.Errorf("stop %s: %v", name, err)
		}
		for _, end := range service.Ends() {
			r.Errorf("%s: %v", name, end)
		}
		for _, trace := range service.Traces() {
			r.Errorf("%s printed what is no log entry:\n%s", name, trace)
		}
	}
	v, err := r.site.ReadBack(r.Context(), r.attempts)
	if err != nil {
		r.Fatalf("read back: %v", err)
	}
	for _, wrong := range v.Wrong {
		r.Error(wrong)
	}
	r.tally.Verdict = v
}
