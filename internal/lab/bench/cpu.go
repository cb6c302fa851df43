package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tecken-upload/internal/testarchive"
)

// cpuTarget is the most CPU time that the server may take, over that of the reference.
const cpuTarget = 1.6

// A pair is the CPU time of the server and of the reference, for one archive.
type pair struct {
	server, reference, elapsed time.Duration
}

func (p pair) ratio() float64 { return p.server.Seconds() / p.reference.Seconds() }

// measureCPU compares the server's CPU seconds for an upload with those of inflating it once, in turn. The target is
// for .sym alone; other members that came deflated are inflated a second time, to be stored as they are.
func measureCPU(ctx context.Context, l *lab) ([]result, error) {
	symbols, err := l.cpuRatio(ctx, testarchive.OnlySym, ".sym")
	if err != nil {
		return nil, err
	}
	mixed, err := l.cpuRatio(ctx, testarchive.PlainMix, ".sym and binaries")
	if err != nil {
		return nil, err
	}
	mixed.target, mixed.missed = "–", false
	return []result{symbols, mixed}, nil
}

func (l *lab) cpuRatio(ctx context.Context, mix testarchive.Mix, name string) (r result, err error) {
	a, err := l.sample(ctx, testarchive.Spec{Seed: 1, Bytes: int64(l.size), Mix: mix, Format: testarchive.Zip})
	if err != nil {
		return r, err
	}
	pairs := make([]pair, l.pairs)
	for i := range pairs {
		p, err := l.cpuPair(ctx, a)
		if err != nil {
			return r, err
		}
		l.say("%s, pair %d: server %.2f s, reference %.2f s, ratio %.2f; answered after %.1f s",
			name, i+1, p.server.Seconds(), p.reference.Seconds(), p.ratio(), p.elapsed.Seconds())
		pairs[i] = p
	}
	slices.SortFunc(pairs, func(x, y pair) int { return cmp.Compare(x.ratio(), y.ratio()) })
	middle, low, high := pairs[len(pairs)/2], pairs[0], pairs[len(pairs)-1]
	return result{
		measure: fmt.Sprintf("CPU seconds of the server ÷ those of only inflating and hashing, %s zip of %s", megabytes(a.manifest.Bytes), name),
		target:  fmt.Sprintf("≤ %.1f", cpuTarget),
		measured: fmt.Sprintf("%.2f (%.2f–%.2f, %d pairs): %.1f s ÷ %.1f s", middle.ratio(), low.ratio(), high.ratio(), len(pairs),
			middle.server.Seconds(), middle.reference.Seconds()),
		missed: middle.ratio() > cpuTarget,
	}, nil
}

// cpuPair measures one upload to a fresh server, from when it is ready until it has ended, and one run of the reference.
func (l *lab) cpuPair(ctx context.Context, a *sample) (p pair, err error) {
	s, err := l.open(ctx, "")
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	before, err := s.server.cpu()
	if err != nil {
		return p, err
	}
	if p.elapsed, err = s.upload(ctx, a); err != nil {
		return p, err
	}
	all, err := s.stopServer()
	if err != nil {
		return p, err
	}
	p.server = all - before
	if p.reference, err = l.inflate(ctx, a); err != nil {
		return p, err
	}
	return p, l.compare(ctx, s, []*sample{a}, nil)
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }
