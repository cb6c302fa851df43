package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A line is one of the table.
type line struct {
	measure, promised, measured string
	fault                       error // the promise is broken
}

// table is a Markdown table.
func table(lines []line) string {
	var b strings.Builder
	b.WriteString("\n| measure | promised | measured |\n|---|---|---|\n")
	for _, l := range lines {
		measured := l.measured
		if l.fault != nil {
			measured = "**broken** " + measured
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", l.measure, l.promised, strings.TrimSpace(measured))
	}
	return b.String()
}

// mostFaults is how many faults of a kind are told.
const mostFaults = 10

// some joins the first of many errors.
func some(faults []error) error {
	if n := len(faults) - mostFaults; n > 0 {
		faults = append(faults[:mostFaults:mostFaults], fmt.Errorf("and %d more", n))
	}
	return errors.Join(faults...)
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }

// sampleInterval is between two samples.
const sampleInterval = time.Second

// A sample is how the server was doing at one moment.
type sample struct {
	values              map[string]float64
	resident, anonymous int64
}

// sampled are the metrics that the table tells of.
var sampled = map[string]string{
	"verify slots busy":               "tecken_verify_slots_busy",
	"members waiting to be verified":  "tecken_verify_waiting",
	"publish slots busy":              "tecken_publish_slots_busy",
	"members waiting to be published": "tecken_publish_waiting",
	"uploads with a workspace":        "tecken_spool_workspaces",
	"spool bytes":                     "tecken_spool_held_bytes",
}

func (r *load) sample(ctx context.Context) (one sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*sampleInterval)
	defer cancel()
	m, err := r.server.Scrape(ctx)
	if err != nil {
		return one, err
	}
	one.values = make(map[string]float64)
	for what, name := range sampled {
		one.values[what], _ = m.Sum(name)
	}
	var err1, err2 error
	one.resident, err1 = r.server.Memory("VmRSS")
	one.anonymous, err2 = r.server.Memory("RssAnon")
	return one, errors.Join(err1, err2)
}

// peak is the most anonymous memory that the server was seen with during the run.
func (r *load) peak() (most int64) {
	for _, s := range r.samples {
		most = max(most, s.anonymous)
	}
	return most
}

// figures are the lines for information.
func (r *load) figures() []line {
	var small, large []time.Duration
	var bytes float64
	byTenant := make(map[*tenant]float64)
	refusals := map[ending]map[int]int{overOwn: {}, busy: {}}
	for _, a := range r.attempts {
		switch a.ending {
		case accepted:
			if a.Archive.Size < smallest {
				small = append(small, a.took)
			} else {
				large = append(large, a.took)
			}
			bytes += float64(a.Archive.Size)
			byTenant[a.tenant] += float64(a.Archive.Size)
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
		info("resident memory, MiB", spread(r.samples, func(s sample) float64 { return mebi(s.resident) })),
		info("bytes by tenant (weight, clients)", r.sharesOf(byTenant)),
	}
	for what := range sampled {
		lines = append(lines, info(what, spread(r.samples, func(s sample) float64 { return s.values[what] })))
	}
	slices.SortFunc(lines[7:], func(a, b line) int { return strings.Compare(a.measure, b.measure) })
	return lines
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
	for _, c := range r.crowd {
		clients[c.tenant]++
	}
	var text []string
	var shares []float64
	for _, t := range r.tenants {
		text = append(text, fmt.Sprintf("%s (%d, %d) %.0f MB", t.name, t.weight, clients[t], bytes[t]/1e6))
		shares = append(shares, bytes[t]/float64(t.weight))
	}
	return fmt.Sprintf("%s; Jain index of bytes ÷ weight %.2f", strings.Join(text, ", "), jain(shares))
}

// spread tells the mean and the most of what was sampled.
func spread(samples []sample, value func(sample) float64) string {
	if len(samples) == 0 {
		return "not measured"
	}
	sum, most := 0.0, 0.0
	for _, s := range samples {
		sum, most = sum+value(s), max(most, value(s))
	}
	return fmt.Sprintf("%.1f on average, at most %.0f", sum/float64(len(samples)), most)
}

// percentiles tells the median, p95, p99 and the longest of some durations.
func percentiles(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	at := func(p float64) float64 { return all[min(len(all)-1, int(p*float64(len(all))))].Seconds() }
	return fmt.Sprintf("%.2f / %.2f / %.2f s, longest %.2f, of %d", at(0.50), at(0.95), at(0.99), all[len(all)-1].Seconds(), len(all))
}

// jain is Jain's index of fairness: 1 when all are equal, 1/n when one has everything.
func jain(all []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range all {
		sum, squares = sum+x, squares+x*x
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(len(all)) * squares)
}

func TestFigures(t *testing.T) {
	if j := jain([]float64{1, 1, 1, 1}); j != 1 {
		t.Errorf("equal shares: %v", j)
	}
	if j := jain([]float64{4, 0, 0, 0}); j != 0.25 {
		t.Errorf("one has all: %v", j)
	}
	var all []time.Duration
	for i := range 100 {
		all = append(all, time.Duration(100-i)*time.Second)
	}
	if got := percentiles(all); got != "51.00 / 96.00 / 100.00 s, longest 100.00, of 100" {
		t.Error(got)
	}
}
