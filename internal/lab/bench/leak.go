package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/testarchive"
)

const (
	// clients make the uploads of the row leak, each one after the other.
	clients = 8
	// idleTimeout is how long the server may take to come to rest.
	idleTimeout = 10 * time.Second
	// restInterval is for how long a server's figures do not change that is at rest.
	restInterval = time.Second
	// poolTimeout is how long its pool may keep connections to storage that it does not use, and some more.
	poolTimeout = 120 * time.Second
	// maxAfter is how long a client that has sent all of its body waits at most before it goes.
	maxAfter = 2 * time.Second
)

// A job is one upload of the row leak.
type job struct {
	number int
	base   *sample
	cut    *cut // nil for one that is waited for
}

// measureLeak makes many uploads, a third of them cut off, and compares what the server has in use before and after.
func measureLeak(ctx context.Context, l *lab) (_ []result, err error) {
	jobs, err := l.jobs(ctx)
	if err != nil {
		return nil, err
	}
	v, err := l.newVolume(ctx, 8*int64(l.size)+volumeSlack)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	s, err := l.open(ctx, v.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := v.settle(); err != nil {
		return nil, err
	}
	before, err := l.idle(ctx, s, v)
	if err != nil {
		return nil, err
	}
	l.say("before: %v", before)
	complete, partial, err := l.work(ctx, s, jobs)
	if err != nil {
		return nil, err
	}
	uploads := fmt.Sprintf("%d uploads, %d of them cut off", len(jobs), len(partial))
	results, err := l.comeToRest(ctx, s, v, before, uploads)
	if err != nil {
		return nil, err
	}
	return results, l.compare(ctx, s, complete, partial)
}

// jobs decides on the uploads: three of four are small, a third are cut off anywhere between the first byte of
// the body and two seconds after the last.
func (l *lab) jobs(ctx context.Context) ([]job, error) {
	random := rand.New(rand.NewPCG(1, 1))
	small, medium := int64(l.size)/250, int64(l.size)/12
	var bases []*sample
	for i, spec := range []testarchive.Spec{
		{Bytes: small, Mix: testarchive.RealMix, Format: testarchive.Zip},
		{Bytes: small, Mix: testarchive.OnlySym, Format: testarchive.Zip, Store: true},
		{Bytes: small, Mix: testarchive.PlainMix, Format: testarchive.TarGzip},
		{Bytes: medium, Mix: testarchive.RealMix, Format: testarchive.Zip},
	} {
		spec.Seed, spec.Members = uint64(200+i), 30
		a, err := l.sample(ctx, spec)
		if err != nil {
			return nil, err
		}
		bases = append(bases, a)
	}
	jobs := make([]job, l.uploads)
	for i := range jobs {
		jobs[i] = job{number: i, base: bases[random.IntN(len(bases))]}
		if i%3 != 0 {
			continue
		}
		c := &cut{sent: random.Int64N(bodySize(jobs[i].base)), reset: random.IntN(2) == 0}
		if random.IntN(4) == 0 {
			c.sent, c.after = bodySize(jobs[i].base), time.Duration(random.Int64N(int64(maxAfter)))
		}
		jobs[i].cut = c
	}
	return jobs, nil
}

// work has several clients do the jobs, and returns what was uploaded for certain, and what perhaps in part.
func (l *lab) work(ctx context.Context, s *site, jobs []job) (complete, partial []*sample, err error) {
	queue := make(chan job, len(jobs))
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	for range clients {
		g.Go(func() error {
			for j := range queue {
				a, err := l.do(gctx, s, j)
				if err != nil {
					return fmt.Errorf("upload %d: %w", j.number, err)
				}
				mu.Lock()
				if j.cut == nil {
					complete = append(complete, a)
				} else {
					partial = append(partial, a)
				}
				mu.Unlock()
			}
			return nil
		})
	}
	return complete, partial, g.Wait()
}

// do does one job. A zip gets names of its own; what is in another archive is in storage from its second upload on.
func (l *lab) do(ctx context.Context, s *site, j job) (*sample, error) {
	a := j.base
	if filepath.Ext(a.file) == ".zip" {
		var err error
		if a, err = j.base.variant(ctx, j.number, filepath.Join(s.dir, fmt.Sprintf("%d.zip", j.number))); err != nil {
			return nil, err
		}
		defer os.Remove(a.file)
	}
	if j.cut != nil {
		return a, s.uploadCut(ctx, a, *j.cut)
	}
	_, err := s.upload(ctx, a)
	return a, err
}

// idle returns what the server has in use once that no longer changes: its start has its own goroutines.
func (l *lab) idle(ctx context.Context, s *site, v *volume) (figures, error) {
	var now figures
	var fault error
	next := time.Now()
	err := s.server.until(ctx, idleTimeout, "start to rest", func(ctx context.Context) bool {
		if time.Now().Before(next) {
			return false
		}
		last := now
		next = time.Now().Add(restInterval)
		now, fault = s.inUse(ctx, v)
		return fault != nil || now == last
	})
	return now, errors.Join(err, fault)
}

// comeToRest waits until the server has as little in use as before, apart from its pools; then until its
// connections to storage are closed as well.
func (l *lab) comeToRest(ctx context.Context, s *site, v *volume, before figures, uploads string) ([]result, error) {
	now := before
	wait := func(limit time.Duration, what string, rest func() bool) error {
		err := s.server.until(ctx, limit, what, func(ctx context.Context) bool {
			var err error
			now, err = s.inUse(ctx, v)
			return err == nil && rest()
		})
		if err != nil {
			return fmt.Errorf("%w\nbefore: %v\nnow: %v", err, before, now)
		}
		return nil
	}
	begin := time.Now()
	if err := wait(idleTimeout, "come to rest", func() bool { return now.within(before) }); err != nil {
		return nil, err
	}
	then, took := now, time.Since(begin)
	l.say("idle after %.1f s: %v", took.Seconds(), now)
	if err := l.sayOutcomes(ctx, s); err != nil {
		return nil, err
	}
	err := wait(poolTimeout, "close the pool", func() bool { return now.storage == 0 && now.within(before) })
	if err != nil {
		return nil, err
	}
	l.say("without connections to storage: %v", now)
	return compareFigures(before, then, now, took, uploads), nil
}

// sayOutcomes tells how the uploads ended by the server's account: some that were cut off had no record yet,
// and some were through already.
func (l *lab) sayOutcomes(ctx context.Context, s *site) error {
	text, err := get(ctx, "http://"+s.metrics+"/metrics")
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if counted, ok := strings.CutPrefix(line, "tecken_uploads_total"); ok {
			l.say("%s", strings.TrimSpace(counted))
		}
	}
	return nil
}

// compareFigures makes lines of what was in use before, then, soon after the last upload, and later, without
// connections to storage.
func compareFigures(before, then, later figures, took time.Duration, uploads string) []result {
	b, t, e := before.withoutPools(), then.withoutPools(), later.withoutPools()
	line := func(what string, target int, format string, args ...any) result {
		return result{
			measure:  fmt.Sprintf("%s, %.1f s after %s", what, took.Seconds(), uploads),
			target:   fmt.Sprintf("back to %d", target),
			measured: fmt.Sprintf(format, args...),
		}
	}
	return []result{
		line("goroutines", b.goroutines, "%d, and %d for the %d pooled connections to storage; %d when these were closed",
			t.goroutines, then.goroutines-t.goroutines, then.storage, e.goroutines),
		line("file descriptors", b.descriptors, "%d, and %d for storage and %d for the database, both bounded pools; %d and %d when the first were closed",
			t.descriptors, then.storage, then.records, e.descriptors, later.records),
		line("spool bytes", 0, "%d; file system %+d bytes, directory %+d names", t.held, t.disk, t.names-b.names),
	}
}
