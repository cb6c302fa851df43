package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/config"
	"tecken-upload/internal/testarchive"
)

const (
	// headersTarget is how much more memory the server may have resident than when idle.
	headersTarget = 64 * config.MiB
	// heartbeatTarget is how long a heartbeat may take meanwhile.
	heartbeatTarget = 2 * time.Second
	// headersConns are the connections of the row headers, headersTime is for how long there are so many.
	headersConns = 1000
	headersTime  = 10 * time.Second
)

// A headerKind is a way to send the header of a request.
type headerKind struct {
	name  string
	begin string // sent at once
	more  string // sent each second
}

func headerKinds() []headerKind {
	const first = "POST /upload/ HTTP/1.1\r\nHost: x\r\n"
	short := first + strings.Repeat("a:\n", 350<<10)
	long := first + strings.Repeat("Some: "+strings.Repeat("a", 80)+"\r\n", 700)
	return []headerKind{
		{name: "a byte a second", begin: "P", more: "O"},
		{name: "an ordinary header but for its end", begin: first + "Cookie: " + strings.Repeat("a", 1500)},
		{name: "60 KiB of header, without an end", begin: long},
		{name: "1 MiB of short lines", begin: short},
	}
}

// measureHeaders opens connections that send headers, and looks at the server's memory and its heartbeats meanwhile.
func measureHeaders(ctx context.Context, l *lab) ([]result, error) {
	a, err := l.sample(ctx, testarchive.Spec{Seed: 4, Bytes: int64(l.size) / 250, Members: 10, Mix: testarchive.OnlySym, Format: testarchive.Zip})
	if err != nil {
		return nil, err
	}
	var results []result
	for _, kind := range headerKinds() {
		r, err := l.headers(ctx, kind, a)
		if err != nil {
			return results, fmt.Errorf("%s: %w", kind.name, err)
		}
		results = append(results, r...)
	}
	return results, nil
}

// headers measures one kind.
func (l *lab) headers(ctx context.Context, kind headerKind, a *sample) (_ []result, err error) {
	s, err := l.open(ctx, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	idle, err := s.server.status("VmRSS")
	if err != nil {
		return nil, err
	}
	sending, stop := context.WithTimeout(ctx, headersTime)
	defer stop()
	var clients errgroup.Group
	for range headersConns {
		clients.Go(func() error { return kind.send(sending, s.address) })
	}
	if _, err := s.upload(sending, a); err != nil {
		return nil, err
	}
	slowest, beats, err := s.heartbeats(sending)
	if err := errors.Join(err, clients.Wait()); err != nil {
		return nil, err
	}
	peak, err := s.server.status("VmHWM")
	if err := errors.Join(err, l.compare(ctx, s, []*sample{a}, nil)); err != nil {
		return nil, err
	}
	l.say("%s: idle %.0f MiB, peak %.0f MiB, slowest of %d heartbeats %.0f ms", kind.name, mebi(idle), mebi(peak), beats, slowest.Seconds()*1000)
	return []result{{
		measure:  fmt.Sprintf("resident memory beyond an idle server's, %d connections: %s", headersConns, kind.name),
		target:   fmt.Sprintf("≤ %.0f MiB", mebi(int64(headersTarget))),
		measured: fmt.Sprintf("%.0f MiB", mebi(peak-idle)),
		missed:   peak-idle > int64(headersTarget),
	}, {
		measure:  fmt.Sprintf("slowest heartbeat beside %d connections: %s", headersConns, kind.name),
		target:   fmt.Sprintf("≤ %v", heartbeatTarget),
		measured: fmt.Sprintf("%.2f s of %d", slowest.Seconds(), beats),
		missed:   slowest > heartbeatTarget,
	}}, nil
}

// send sends a header, and goes on each second as the kind does, until the connection is closed, or ctx ends.
func (k headerKind) send(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	ended := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer ended()
	_, err = io.WriteString(conn, k.begin)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for err == nil {
		select {
		case <-second.C:
			_, err = io.WriteString(conn, k.more)
		case <-ctx.Done():
			return nil
		}
	}
	return nil // the server has closed it
}

// heartbeats asks for both heartbeats until ctx ends, and returns how long the slowest of so many took.
func (s *site) heartbeats(ctx context.Context) (slowest time.Duration, beats int, err error) {
	for ctx.Err() == nil {
		for _, path := range []string{"/__lbheartbeat__", "/__heartbeat__"} {
			begin := time.Now()
			if _, err := get(context.WithoutCancel(ctx), "http://"+s.address+path); err != nil {
				return 0, 0, fmt.Errorf("%s: %w", path, err)
			}
			slowest = max(slowest, time.Since(begin))
			beats++
		}
	}
	return slowest, beats, nil
}
