package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

const (
	// leakClients make the uploads of the row leak, each one after the other.
	leakClients = 8
	// idleTimeout is how long the server may take to come to rest.
	idleTimeout = 10 * time.Second
	// poolTimeout is how long its pool may keep connections to storage that it does not use, and some more.
	poolTimeout = 120 * time.Second
	// maxAfter is how long a client that has sent all of its body waits at most before it goes.
	maxAfter = 2 * time.Second
)

// measureLeak makes many uploads, a third of them cut off, and compares what the server has in use before and after.
func measureLeak(b *bench) {
	jobs := b.jobs()
	s, v := b.openVolume()
	ctx, cancel := context.WithTimeout(b.Context(), idleTimeout)
	defer cancel()
	before, err := s.Settled(ctx, s.Instance)
	b.must(err)
	v.idle, _, err = v.Used()
	b.must(err)
	b.say("before: %v", before)
	queue := make(chan lab.Upload, len(jobs))
	for _, u := range jobs {
		queue <- u
	}
	close(queue)
	var working sync.WaitGroup
	for range leakClients {
		working.Go(func() {
			for u := range queue {
				if answer := s.post(u); u.Ending == lab.Waits && answer.Status != 201 {
					b.Errorf("answered %v", answer)
				}
			}
		})
	}
	working.Wait()
	begin := time.Now()
	soon := s.atRest(v, before, idleTimeout, func(lab.InUse) bool { return true })
	took := time.Since(begin)
	b.say("idle after %.1f s: %v", took.Seconds(), soon)
	s.sayOutcomes()
	later := s.atRest(v, before, poolTimeout, func(now lab.InUse) bool { return now.Storage == 0 })
	b.say("without connections to storage: %v", later)

	cut := (len(jobs) + 2) / 3
	line := func(what string, target int, format string, args ...any) {
		b.add(result{
			measure: fmt.Sprintf("%s, %.1f s after %d uploads, %d of them cut off", what, took.Seconds(), len(jobs), cut),
			target:  fmt.Sprintf("back to %d", target), measured: fmt.Sprintf(format, args...),
		})
	}
	line("goroutines", before.Goroutines, "%d, besides those of %d pooled connections to storage; %d when these were closed",
		soon.Goroutines, soon.Storage, later.Goroutines)
	line("file descriptors", before.Descriptors, "%d, and %d for storage and %d for the database, both bounded pools; %d and %d when the first were closed",
		soon.Descriptors, soon.Storage, soon.Records, later.Descriptors, later.Records)
	used, err := v.used()
	b.must(err)
	line("spool bytes", 0, "%d; file system %+d bytes, directory %+d names", later.Held, used, later.Names-before.Names)
	s.compare()
}

// jobs decides on the uploads: three of four are small, a third are cut off anywhere between the first byte of
// the body and two seconds after the last. A zip has names of its own; what is in another archive is in storage from its second upload on.
func (b *bench) jobs() []lab.Upload {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	small, medium := b.size/250, b.size/12
	var bases []*lab.Archive
	for i, spec := range []testarchive.Spec{
		{Bytes: small, Mix: testarchive.RealMix, Format: testarchive.Zip},
		{Bytes: small, Mix: testarchive.OnlySym, Format: testarchive.Zip, Store: true},
		{Bytes: small, Mix: testarchive.PlainMix, Format: testarchive.TarGzip},
		{Bytes: medium, Mix: testarchive.RealMix, Format: testarchive.Zip},
	} {
		spec.Seed, spec.Members = uint64(200+i), 30
		bases = append(bases, b.archive(spec))
	}
	jobs := make([]lab.Upload, *uploads)
	for i := range jobs {
		u := lab.Upload{Archive: bases[random.IntN(len(bases))]}
		if strings.HasSuffix(u.Archive.Filename, ".zip") {
			var err error
			u.Archive, err = u.Archive.Variant(uint32(i))
			b.must(err)
		}
		if i%3 == 0 {
			u.Ending, u.Share = []lab.Ending{lab.Closes, lab.Resets}[random.IntN(2)], random.Float64()
			if random.IntN(4) == 0 {
				u.Share, u.Pause = 1, time.Duration(random.Int64N(int64(maxAfter)))
			}
		}
		jobs[i] = u
	}
	return jobs
}

// atRest waits until the server has no more in use than before, and its volume too, and what else is to hold, and returns what it has.
func (s *site) atRest(v *volume, before lab.InUse, limit time.Duration, holds func(lab.InUse) bool) (now lab.InUse) {
	s.bench.Helper()
	ctx, cancel := context.WithTimeout(s.bench.Context(), limit)
	defer cancel()
	err := lab.Await(ctx, func(ctx context.Context) (err error) {
		if now, err = s.InUse(ctx, s.Instance); err != nil {
			return err
		}
		used, err := v.used()
		err = errors.Join(err, now.Beyond(before))
		if used > 0 {
			err = errors.Join(err, fmt.Errorf("the spool's file system has %d bytes more than when idle", used))
		}
		if err == nil && !holds(now) {
			err = fmt.Errorf("there are %d connections to storage", now.Storage)
		}
		return err
	})
	if err != nil {
		s.bench.Fatalf("the server does not come to rest: %v\nbefore: %v\nnow: %v", err, before, now)
	}
	return now
}

// sayOutcomes tells how the uploads ended by the server's account: some that were cut off had no record yet,
// and some were through already.
func (s *site) sayOutcomes() {
	s.bench.Helper()
	m, err := s.Scrape(s.bench.Context())
	s.must(err)
	for line := range strings.Lines(string(m)) {
		if strings.HasPrefix(line, "tecken_uploads_total") {
			s.say("%s", strings.TrimSpace(line))
		}
	}
}
