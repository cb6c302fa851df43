package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/lab"
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
	// pacedSeconds is for how long lookups come at the target's rate.
	pacedSeconds = 5
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

// p99 returns how many milliseconds 99 % of the lookups take at most.
func (r round) p99() float64 { return r.latencies[len(r.latencies)*99/100].Seconds() * 1000 }

// measureLookups compares lookups with the least that Echo can do.
func measureLookups(b *bench) {
	bare, s := b.bare(), b.open("")
	keys := s.plant(lookupPairs*freshLookups + freshRate*pacedSeconds)
	var base, cached, fresh []round
	for range lookupPairs {
		some := keys[:freshLookups]
		keys = keys[freshLookups:]
		base = append(base, b.ask(bare, some, cachedLookups, 0))
		fresh = append(fresh, b.ask(s.Instance, some, freshLookups, 0))
		cached = append(cached, b.ask(s.Instance, some, cachedLookups, 0))
	}
	pacedBase := b.ask(bare, keys[:100], cachedRate*pacedSeconds, cachedRate)
	pacedFresh := b.ask(s.Instance, keys, freshRate*pacedSeconds, freshRate)
	pacedCached := b.ask(s.Instance, keys[:100], cachedRate*pacedSeconds, cachedRate)
	b.must(s.Stop())
	b.addRate("lookups answered from memory, per second and core of the server", cachedRate, cached, base)
	b.addRate("HEADs through versitygw, per second and core of the server", freshRate, fresh, base)
	b.addLatency("p99 of lookups answered from memory, 5,000 each second", pacedCached, pacedBase)
	b.addLatency("p99 of HEADs through versitygw, 1,000 each second", pacedFresh, pacedBase)
}

// addLatency tells of a round, and of the least that Echo can do on the same machine at that moment.
func (b *bench) addLatency(measure string, r, base round) {
	b.add(result{
		measure: measure, target: fmt.Sprintf("< %v", lookupLatency), missed: r.p99() >= lookupLatency.Seconds()*1000,
		measured: fmt.Sprintf("%.2f ms; of a bare Echo handler %.2f ms, 5,000 each second", r.p99(), base.p99()),
	})
}

// addRate tells the median of the rounds, and its ratio to that of the least that Echo can do.
func (b *bench) addRate(measure string, target float64, rounds, base []round) {
	median := func(rounds []round) float64 {
		var rates []float64
		for _, r := range rounds {
			rates = append(rates, r.perCore())
		}
		slices.Sort(rates)
		return rates[len(rates)/2]
	}
	var inAll []string
	for _, r := range rounds {
		inAll = append(inAll, fmt.Sprintf("%.0f", float64(r.lookups)/r.elapsed.Seconds()))
	}
	rate, least := median(rounds), median(base)
	b.add(result{
		measure: measure, target: fmt.Sprintf("≥ %.0f", target), missed: rate < target,
		measured: fmt.Sprintf("%.0f, %.3f of a bare Echo handler's %.0f; in all %s per second of time", rate, rate/least, least, strings.Join(inAll, ", ")),
	})
}

// plant puts objects into storage past the server, and returns the paths they are asked for by.
func (s *site) plant(n int) []string {
	s.bench.Helper()
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("/app%d/%032X1/app.sym", i%100, i)
		file := filepath.Join(s.S3.Dir, "v1", filepath.FromSlash(keys[i]))
		s.must(os.MkdirAll(filepath.Dir(file), 0o755))
		s.must(os.WriteFile(file, []byte("MODULE\n"), 0o644))
	}
	return keys
}

// ask looks for keys, one after the other and from the start again, over some connections: at that rate in all, or,
// where it is 0, as fast as answers come. At a rate, a lookup takes time from when it was due.
func (b *bench) ask(server *lab.Instance, keys []string, lookups int, rate float64) round {
	b.Helper()
	before, err := server.CPU()
	b.must(err)
	r := round{lookups: lookups, latencies: make([]time.Duration, lookups)}
	conns := askers
	if rate > 0 {
		conns = pacedAskers
	}
	begin := time.Now()
	g, ctx := errgroup.WithContext(b.Context())
	for first := range conns {
		g.Go(func() error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", server.Address)
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
	b.must(g.Wait())
	r.elapsed = time.Since(begin)
	after, err := server.CPU()
	b.must(err)
	r.cpu = after - before
	slices.Sort(r.latencies)
	return r
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
	if !strings.HasPrefix(status, "HTTP/1.1 200 ") {
		return fmt.Errorf("HEAD %s: %s", path, strings.TrimSpace(status))
	}
	for {
		line, err := answers.ReadSlice('\n')
		if err != nil || len(line) <= len("\r\n") {
			return err
		}
	}
}
