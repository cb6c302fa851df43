package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// askers and pacedAskers are how many connections lookups come over: as fast as answers come, and at a rate, where one
	// that takes longer must not hold up those after it.
	askers, pacedAskers = 8, 32
	// lookupPairs is how often each kind is measured, in turn.
	lookupPairs = 3
	// cachedLookups and freshLookups are how many are made in one measurement. Each of the latter is of another key.
	cachedLookups, freshLookups = 60_000, 6_000
	// cachedRate and freshRate are the targets, per second.
	cachedRate, freshRate = 5000, 1000
	// pacedTime is for how long lookups come at the target's rate.
	pacedTime = 5 * time.Second
	// lookupLatency is what 99 % of these must not exceed.
	lookupLatency = 20 * time.Millisecond
)

// A round is one measurement: how many lookups there were, over what time, at what cost, and how long each took.
type round struct {
	lookups      int
	elapsed, cpu time.Duration
	latencies    []time.Duration // sorted
}

// perCore is how many lookups one core answers in a second.
func (r round) perCore() float64 { return float64(r.lookups) / r.cpu.Seconds() }

func (r round) p99() time.Duration { return r.latencies[len(r.latencies)*99/100] }

// measureLookups compares lookups with the least that Echo can do.
func measureLookups(ctx context.Context, l *lab) (_ []result, err error) {
	bare, address, err := l.startBare(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		_, stopErr := bare.stop()
		err = errors.Join(err, stopErr)
	}()
	s, err := l.open(ctx, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	keys, err := s.plant(lookupPairs*freshLookups + freshRate*int(pacedTime.Seconds()))
	if err != nil {
		return nil, err
	}
	var base, cached, fresh []round
	for range lookupPairs {
		known, unknown := keys[:freshLookups], keys[:freshLookups]
		keys = keys[freshLookups:]
		for _, m := range []struct {
			rounds  *[]round
			server  *process
			address string
			keys    []string
			lookups int
		}{
			{&base, bare, address, known, cachedLookups},
			{&fresh, s.server, s.address, unknown, freshLookups},
			{&cached, s.server, s.address, known, cachedLookups},
		} {
			r, err := ask(ctx, m.server, m.address, m.keys, m.lookups, 0)
			if err != nil {
				return nil, err
			}
			*m.rounds = append(*m.rounds, r)
		}
	}
	pacedBase, err := ask(ctx, bare, address, keys[:100], cachedRate*int(pacedTime.Seconds()), cachedRate)
	if err != nil {
		return nil, err
	}
	pacedFresh, err := ask(ctx, s.server, s.address, keys, freshRate*int(pacedTime.Seconds()), freshRate)
	if err != nil {
		return nil, err
	}
	pacedCached, err := ask(ctx, s.server, s.address, keys[:100], cachedRate*int(pacedTime.Seconds()), cachedRate)
	if err != nil {
		return nil, err
	}
	return []result{
		rateResult("lookups answered from memory, per second and core of the server", cachedRate, cached, base),
		rateResult("HEADs through versitygw, per second and core of the server", freshRate, fresh, base),
		latencyResult("p99 of lookups answered from memory, 5,000 each second", pacedCached, pacedBase),
		latencyResult("p99 of HEADs through versitygw, 1,000 each second", pacedFresh, pacedBase),
	}, nil
}

// rateResult tells the median of the rounds, and its ratio to that of the least that Echo can do.
func rateResult(measure string, target float64, rounds, base []round) result {
	rate, least := medianRate(rounds), medianRate(base)
	return result{
		measure:  measure,
		target:   fmt.Sprintf("≥ %.0f", target),
		measured: fmt.Sprintf("%.0f, %.3f of a bare Echo handler's %.0f; %s", rate, rate/least, least, elapsedRates(rounds)),
		missed:   rate < target,
	}
}

func elapsedRates(rounds []round) string {
	var rates []string
	for _, r := range rounds {
		rates = append(rates, fmt.Sprintf("%.0f", float64(r.lookups)/r.elapsed.Seconds()))
	}
	return "in all " + strings.Join(rates, ", ") + " per second of time"
}

func medianRate(rounds []round) float64 {
	var rates []float64
	for _, r := range rounds {
		rates = append(rates, r.perCore())
	}
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// latencyResult tells of the round, and of the least that Echo can do on the same machine at that moment.
func latencyResult(measure string, r, base round) result {
	return result{
		measure:  measure,
		target:   fmt.Sprintf("< %v", lookupLatency),
		measured: fmt.Sprintf("%.2f ms; of a bare Echo handler %.2f ms, 5,000 each second", r.p99().Seconds()*1000, base.p99().Seconds()*1000),
		missed:   r.p99() >= lookupLatency,
	}
}

// startBare starts the bare Echo handler, and returns where it serves.
func (l *lab) startBare(ctx context.Context) (*process, string, error) {
	root, err := goOutput(ctx, "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, "", err
	}
	program, err := l.build(ctx, root, "scripts/bareecho")
	if err != nil {
		return nil, "", err
	}
	p, err := start(nil, program)
	if err != nil {
		return nil, "", err
	}
	err = p.until(ctx, startTimeout, "start the bare handler", func(context.Context) bool { return len(p.output.lines()) > 0 })
	if err != nil {
		return nil, "", errors.Join(err, p.kill())
	}
	return p, string(p.output.lines()[0]), nil
}

// plant puts objects into storage behind the server's back, and returns the paths they are asked for by.
func (s *site) plant(n int) ([]string, error) {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("/app%d/%032X1/app.sym", i%100, i)
		file := filepath.Join(s.dir, "storage", bucket, "v1", filepath.FromSlash(keys[i]))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, []byte("MODULE\n"), 0o644); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// ask looks for keys, one after the other and from the start again, over some connections: at that rate in all, or,
// where it is 0, as fast as answers come. At a rate, a lookup takes time from when it was due.
func ask(ctx context.Context, server *process, address string, keys []string, lookups int, rate float64) (round, error) {
	before, err := server.cpu()
	if err != nil {
		return round{}, err
	}
	r := round{lookups: lookups, latencies: make([]time.Duration, lookups)}
	conns := askers
	if rate > 0 {
		conns = pacedAskers
	}
	begin := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for first := range conns {
		g.Go(func() error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			answers := bufio.NewReader(conn)
			for i := first; i < lookups; i += conns {
				due := time.Now()
				if rate > 0 {
					due = begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))
					<-time.After(time.Until(due))
				}
				if err := head(conn, answers, keys[i%len(keys)]); err != nil {
					return err
				}
				r.latencies[i] = time.Since(due)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return r, err
	}
	r.elapsed = time.Since(begin)
	after, err := server.cpu()
	r.cpu = after - before
	slices.Sort(r.latencies)
	return r, err
}

// head asks for one path. It does the least that a client can, to leave the machine to the server.
func head(conn net.Conn, answers *bufio.Reader, path string) error {
	if _, err := conn.Write([]byte("HEAD " + path + " HTTP/1.1\r\nHost: bench\r\n\r\n")); err != nil {
		return err
	}
	status, err := answers.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(status, fmt.Sprintf("HTTP/1.1 %d ", http.StatusOK)) {
		return fmt.Errorf("HEAD %s: %w: %s", path, errStatus, strings.TrimSpace(status))
	}
	for {
		line, err := answers.ReadSlice('\n')
		if err != nil || len(line) <= len("\r\n") {
			return err
		}
	}
}
