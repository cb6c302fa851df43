package main

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A colour is what a heartbeat says, as the plot's letter.
type colour byte

const (
	green colour = 'G'
	red   colour = 'R'
	none  colour = '-' // nobody answers
)

// heartbeat asks for the colour of one of the heartbeats.
func heartbeat(ctx context.Context, url string) colour {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return none
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return none
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return green
	}
	return red
}

// A sampler looks at the disk and at both heartbeats again and again, until stop.
type sampler struct {
	disk   *disk
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex // guards what follows
	url     string
	samples []sample
}

func startSampler(ctx context.Context, disk *disk, url string) *sampler {
	ctx, cancel := context.WithCancel(ctx)
	s := &sampler{disk: disk, url: url, cancel: cancel, done: make(chan struct{})}
	go s.run(ctx)
	return s
}

func (s *sampler) run(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	for began := time.Now(); ctx.Err() == nil; {
		s.mu.Lock()
		url := s.url
		s.mu.Unlock()
		next := sample{At: time.Since(began), Used: s.disk.used(), Workspaces: len(s.disk.workspaces())}
		next.Balancer, next.Health = heartbeat(ctx, url+"/__lbheartbeat__"), heartbeat(ctx, url+"/__heartbeat__")
		s.mu.Lock()
		s.samples = append(s.samples, next)
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// ask lets the sampler ask another server for heartbeats.
func (s *sampler) ask(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url = url
}

// stop ends the sampling and returns what was seen. It may be called more than once.
func (s *sampler) stop() []sample {
	s.cancel()
	<-s.done
	return s.samples
}
