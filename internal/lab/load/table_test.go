package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A line is one of the table.
type line struct {
	measure, promised, measured string
	fault                       error // the promise is broken
}

func (l line) write(w io.Writer) error {
	measured := l.measured
	if l.fault != nil {
		measured = "**broken** " + measured
	}
	_, err := fmt.Fprintf(w, "| %s | %s | %s |\n", l.measure, l.promised, strings.TrimSpace(measured))
	return err
}

// printTable prints the lines, and fails with the promises that are broken.
func printTable(w io.Writer, lines []line) error {
	fmt.Fprint(w, "| measure | promised | measured |\n|---|---|---|\n")
	var faults []error
	for _, l := range lines {
		if err := l.write(w); err != nil {
			return err
		}
		if l.fault != nil {
			faults = append(faults, fmt.Errorf("broken: %s: %w", l.measure, l.fault))
		}
	}
	return some(faults)
}

// answersLine tells how the attempts ended.
func (r *load) answersLine() line {
	t := r.tally()
	l := line{
		measure:  fmt.Sprintf("%d concurrent clients of %d tenants, %v: answers", r.clients, len(r.tenants), r.time),
		promised: "no error other than truthful refusals",
		measured: fmt.Sprintf("%d errors in %d requests: %d accepted, %d × 429, %d × 503, %d hung up on purpose",
			t[broken], len(r.attempts), t[accepted], t[overOwn], t[busy], t[hungUp]),
	}
	var faults []error
	for _, a := range r.attempts {
		if a.ending == broken {
			faults = append(faults, fmt.Errorf("%s of %s (%d bytes), begun after %.1f s, failed after %.1f s: %w",
				a.label, r.clientTenants[a.job.client].name, a.job.template.size, a.began.Seconds(), a.took.Seconds(), a.err))
		}
	}
	if t[accepted] == 0 {
		faults = append(faults, fmt.Errorf("nothing was accepted"))
	}
	l.fault = some(faults)
	return l
}

// connectionsLine tells how many connections to storage there were. The end of an upload whose client hung up may
// close one in mid-request for each of its members in publishing; or just after an answer, before that is read. One that
// storage closes is explained by the retry that it costs, if at all.
func (r *load) connectionsLine() line {
	c, pool, hangUps := r.site.proxy.tally(), r.site.proxy.pool, r.tally()[hungUp]
	retries := int(r.site.proxy.retries.Load())
	explained := pool + retries + c.cut + c.expired + min(c.dropped, hangUps)
	l := line{
		measure:  "connections to storage ever opened, counted by a proxy before it",
		promised: fmt.Sprintf("≤ pool of %d, + retries, + those lost to hang-ups", pool),
		measured: fmt.Sprintf("%d for %d requests: pool %d, %d retries, %d closed in mid-request, %d by storage, %d after %v without use",
			c.opened, r.site.proxy.requests.Load(), pool, retries, c.cut, c.byStorage, c.expired, idleExpiry),
	}
	if c.dropped+c.others > 0 {
		l.measured += fmt.Sprintf(", %d within %v of an answer, %d for no reason", c.dropped, unreadFor, c.others)
	}
	switch {
	case c.opened > explained:
		l.fault = fmt.Errorf("%d connections opened, %d are explained", c.opened, explained)
	case c.byStorage > retries:
		l.fault = fmt.Errorf("%d connections were closed by storage, with %d retries", c.byStorage, retries)
	case c.cut > hangUps*r.slots:
		l.fault = fmt.Errorf("%d requests were cut off, by %d uploads that ended early", c.cut, hangUps)
	}
	return l
}

// mostLine tells how many were open at a time.
func (r *load) mostLine() line {
	c, pool := r.site.proxy.tally(), r.site.proxy.pool
	l := line{
		measure:  "connections to storage at a time",
		promised: fmt.Sprintf("≤ %d", pool),
		measured: fmt.Sprintf("%d", c.most),
	}
	if c.overFor > 0 {
		l.measured += fmt.Sprintf(", for %v: one was seen to open before its predecessor was seen to close", c.overFor.Round(time.Microsecond))
	}
	if c.overFor > handOver {
		l.fault = fmt.Errorf("more than %d were open for %v", pool, c.overFor)
	}
	return l
}

// handOver is for how long the proxy may see a connection and its successor both.
const handOver = 2 * time.Second

// figures are the lines for information.
func (r *load) figures() []line {
	var small, large []time.Duration
	var bytes float64
	byTenant := make(map[*tenant]float64)
	refusals := map[ending]map[int]int{overOwn: {}, busy: {}}
	for _, a := range r.attempts {
		switch t := a.job.template; a.ending {
		case accepted:
			if t.small {
				small = append(small, a.took)
			} else {
				large = append(large, a.took)
			}
			bytes += float64(t.size)
			byTenant[r.clientTenants[a.job.client]] += float64(t.size)
		case overOwn, busy:
			refusals[a.ending][int((a.began+a.took).Seconds())]++
		}
	}
	info := func(measure, measured string) line {
		return line{measure: measure, promised: "–", measured: measured}
	}
	lines := []line{
		info("throughput of accepted archives", fmt.Sprintf("%.1f MB/s, %.1f uploads/s", bytes/1e6/r.elapsed.Seconds(), float64(len(small)+len(large))/r.elapsed.Seconds())),
		info("answer time of accepted small uploads (p50 / p95 / p99)", percentiles(small)),
		info("answer time of accepted large uploads (p50 / p95 / p99)", percentiles(large)),
		info("refused with 429, in a second", perSecond(refusals[overOwn], r.elapsed)),
		info("refused with 503, in a second", perSecond(refusals[busy], r.elapsed)),
		info("verify slots busy", spread(r.samples, of("tecken_verify_slots_busy"))),
		info("members waiting to be verified", spread(r.samples, of("tecken_verify_waiting"))),
		info("publish slots busy", spread(r.samples, of("tecken_publish_slots_busy"))),
		info("members waiting to be published", spread(r.samples, of("tecken_publish_waiting"))),
		info("uploads with a workspace", spread(r.samples, of("tecken_spool_workspaces"))),
		info("spool bytes, MiB", spread(r.samples, func(s sample) float64 { return mebi(int64(s.values["tecken_spool_held_bytes"])) })),
		info("resident memory, MiB", spread(r.samples, func(s sample) float64 { return mebi(s.resident) })),
	}
	return append(lines, info("bytes by tenant (weight, clients)", r.sharesOf(byTenant)))
}

func perSecond(counts map[int]int, elapsed time.Duration) string {
	sum, most := 0, 0
	for _, n := range counts {
		sum, most = sum+n, max(most, n)
	}
	return fmt.Sprintf("%.1f on average, at most %d", float64(sum)/elapsed.Seconds(), most)
}

func (r *load) sharesOf(bytes map[*tenant]float64) string {
	clients := make(map[*tenant]int)
	for _, t := range r.clientTenants {
		clients[t]++
	}
	var text []string
	var shares []float64
	for _, t := range r.tenants {
		text = append(text, fmt.Sprintf("%s (%d, %d) %.0f MB", t.name, t.weight, clients[t], bytes[t]/1e6))
		shares = append(shares, bytes[t]/float64(t.weight))
	}
	return fmt.Sprintf("%s; Jain index of bytes ÷ weight %.2f", strings.Join(text, ", "), jain(shares))
}
