package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/config"
)

const (
	// decodersTarget is how much more memory the server may have resident than when idle: TECKEN_DECODER_MEMORY, what is dead of it
	// and not given back yet, and an eighth for all the rest.
	decodersTarget = (256 + 32 + 36) * config.MiB
	// decodersAfter is the same once the last decoder has ended, decodersTime after that.
	decodersAfter, decodersTime = 16 * config.MiB, 10 * time.Second
	// decodersUploads come at once, from so many tenants.
	decodersUploads, decodersTenants = 24, 6
	// decodersWindow is what the archive asks for; its member is larger.
	decodersWindow, decodersMember = 64 << 20, 100_000_000
)

// measureDecoders uploads many small archives at once that ask for large decoders.
func measureDecoders(ctx context.Context, l *lab) (_ []result, err error) {
	a := &sample{file: filepath.Join(l.dir, "decoders.tar.zst")}
	if a.manifest.Bytes, err = writeBomb(a.file); err != nil {
		return nil, err
	}
	s, err := l.open(ctx, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	idle, err := s.server.status("VmRSS")
	if err != nil {
		return nil, err
	}
	var clients errgroup.Group
	for i := range decodersTenants {
		if err := s.makeToken(ctx, l.server); err != nil {
			return nil, err
		}
		tenant := *s
		for range decodersUploads / decodersTenants {
			clients.Go(func() error {
				_, err := tenant.upload(ctx, a)
				return err
			})
		}
		l.say("decoders: tenant %d of %d sends", i+1, decodersTenants)
	}
	if err := clients.Wait(); err != nil {
		return nil, err
	}
	peak, err := s.server.status("VmHWM")
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(decodersTime):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, err := s.server.status("VmRSS")
	what := fmt.Sprintf("resident memory beyond an idle server's, %d tar.zst of %d KB with windows of %d MiB at once", decodersUploads, a.manifest.Bytes/1000, decodersWindow>>20)
	return []result{{
		measure:  what,
		target:   fmt.Sprintf("≤ %.0f MiB", mebi(int64(decodersTarget))),
		measured: fmt.Sprintf("%.0f MiB", mebi(peak-idle)),
		missed:   peak-idle > int64(decodersTarget),
	}, {
		measure:  fmt.Sprintf("the same %v after the last", decodersTime),
		target:   fmt.Sprintf("≤ %.0f MiB", mebi(int64(decodersAfter))),
		measured: fmt.Sprintf("%.0f MiB", mebi(after-idle)),
		missed:   after-idle > int64(decodersAfter),
	}}, err
}

// writeBomb writes a small archive whose decoder is large, and returns its size.
func writeBomb(file string) (size int64, err error) {
	f, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := zstd.NewWriter(f, zstd.WithWindowSize(decodersWindow), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return 0, err
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "bomb.so/ABCDEF0/bomb.pdb", Size: decodersMember, Mode: 0o644}); err != nil {
		return 0, err
	}
	if _, err := w.Write(make([]byte, decodersMember)); err != nil {
		return 0, err
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
