package main

import (
	"context"
	"errors"
	"fmt"

	"tecken-upload/internal/testarchive"
)

// spoolTarget is how many bytes of its spool's file system a zip may take at most, over its own.
const spoolTarget = 1.02

// measureSpool uploads one archive after the other, each to a server with a spool on a file system of its own.
func measureSpool(ctx context.Context, l *lab) ([]result, error) {
	var results []result
	for _, c := range []struct {
		name string
		spec testarchive.Spec
		goal bool
	}{
		{"zip of .sym", testarchive.Spec{Mix: testarchive.OnlySym, Format: testarchive.Zip}, true},
		{"zip of .sym, stored", testarchive.Spec{Mix: testarchive.OnlySym, Format: testarchive.Zip, Store: true}, false},
		{"tar.gz of .sym and binaries", testarchive.Spec{Mix: testarchive.PlainMix, Format: testarchive.TarGzip}, false},
	} {
		c.spec.Seed, c.spec.Bytes = 1, int64(l.size)
		a, err := l.sample(ctx, c.spec)
		if err != nil {
			return nil, err
		}
		most, err := l.spoolPeak(ctx, a)
		if err != nil {
			return nil, err
		}
		ratio := float64(most) / float64(a.manifest.Bytes)
		l.say("%s: %.4f", c.name, ratio)
		r := result{
			measure:  fmt.Sprintf("peak spool bytes ÷ archive bytes, %s %s", megabytes(a.manifest.Bytes), c.name),
			target:   "–",
			measured: fmt.Sprintf("%.4f", ratio),
		}
		if c.goal {
			r.target, r.missed = fmt.Sprintf("≤ %.2f", spoolTarget), ratio > spoolTarget
		}
		results = append(results, r)
	}
	return results, nil
}

// spoolPeak returns the most bytes that the spool's file system has in use while a is uploaded.
func (l *lab) spoolPeak(ctx context.Context, a *sample) (most int64, err error) {
	v, err := l.newVolume(ctx, 8*int64(l.size)+volumeSlack)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	s, err := l.open(ctx, v.dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := v.settle(); err != nil {
		return 0, err
	}
	most, err = v.peak(func() error {
		_, err := s.upload(ctx, a)
		return err
	})
	if err != nil {
		return 0, err
	}
	return most, l.compare(ctx, s, []*sample{a}, nil)
}

// volumeSlack is what a volume has besides a multiple of an archive: the headroom, and what a file system keeps for itself.
const volumeSlack = 2 << 30
