package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/config"
	"tecken-upload/internal/testarchive"
)

// Targets of resident memory, in bytes.
const (
	memory8Target = 200 * config.MiB
	memory1Target = 120 * config.MiB
)

// together is how many uploads the row memory8 makes at once.
const together = 8

// measureMemory8 uploads eight archives of different symbols at once.
func measureMemory8(ctx context.Context, l *lab) ([]result, error) {
	var results []result
	for _, mix := range []testarchive.Mix{testarchive.RealMix, testarchive.OnlySym} {
		a, err := l.sample(ctx, testarchive.Spec{Seed: 2, Bytes: int64(l.size), Mix: mix, Format: testarchive.Zip})
		if err != nil {
			return nil, err
		}
		samples := make([]*sample, together)
		for i := range samples {
			if samples[i], err = a.variant(ctx, i, filepath.Join(l.dir, fmt.Sprintf("variant-%d.zip", i))); err != nil {
				return nil, err
			}
		}
		measure := fmt.Sprintf("resident memory, eight %s zips of the mix %q at once", megabytes(a.manifest.Bytes), mix)
		r, err := l.memory(ctx, measure, memory8Target, samples)
		for _, v := range samples {
			err = errors.Join(err, os.Remove(v.file))
		}
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

// measureMemory1 uploads one archive almost as large as can be.
func measureMemory1(ctx context.Context, l *lab) ([]result, error) {
	a, err := l.sample(ctx, testarchive.Spec{Seed: 3, Bytes: 4 * int64(l.size), Mix: testarchive.RealMix, Format: testarchive.Zip})
	if err != nil {
		return nil, err
	}
	measure := fmt.Sprintf("resident memory, one zip of %s", megabytes(a.manifest.Bytes))
	r, err := l.memory(ctx, measure, memory1Target, []*sample{a})
	return []result{r}, err
}

// memory uploads the samples at once, and returns the most memory that the server had resident: its
// anonymous memory and the pages of its program.
func (l *lab) memory(ctx context.Context, measure string, target config.Size, samples []*sample) (r result, err error) {
	s, err := l.open(ctx, "")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	idle, err := s.server.status("VmRSS")
	if err != nil {
		return r, err
	}
	begin := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for _, a := range samples {
		g.Go(func() error {
			_, err := s.upload(gctx, a)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return r, err
	}
	elapsed := time.Since(begin)
	peak, err := s.server.status("VmHWM")
	if err != nil {
		return r, err
	}
	l.say("%s: idle %.0f MiB, peak %.0f MiB, %.1f s", measure, mebi(idle), mebi(peak), elapsed.Seconds())
	return result{
		measure:  measure,
		target:   fmt.Sprintf("≤ %.0f MiB", mebi(int64(target))),
		measured: fmt.Sprintf("%.0f MiB (idle: %.0f)", mebi(peak), mebi(idle)),
		missed:   peak > int64(target),
	}, l.compare(ctx, s, samples, nil)
}

func mebi(n int64) float64 { return float64(n) / float64(config.MiB) }
