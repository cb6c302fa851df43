package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	sampleInterval = time.Second
	// tellEvery is after how many samples the user is told.
	tellEvery = 5
)

// A sample is how the server was doing at one moment.
type sample struct {
	values   map[string]float64
	resident int64
	memory   int64 // as inUse has it
	storage  int   // open connections
}

// sampled are the metrics that the table tells of.
var sampled = []string{
	"tecken_verify_slots_busy", "tecken_publish_slots_busy", "tecken_verify_waiting", "tecken_publish_waiting",
	"tecken_spool_workspaces", "tecken_spool_held_bytes", "tecken_uploads_in_receive", "tecken_tenant_leases",
}

// watch samples the server until ctx ends.
func (r *load) watch(ctx context.Context) (samples []sample, missed int) {
	ticks := time.NewTicker(sampleInterval)
	defer ticks.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return samples, missed
		case <-ticks.C:
		}
		one, err := r.site.sample(ctx)
		if err != nil {
			missed++
			continue
		}
		samples = append(samples, one)
		if n%tellEvery == 0 {
			r.tell(one)
		}
	}
}

func (s *site) sample(ctx context.Context) (one sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*sampleInterval)
	defer cancel()
	text, err := get(ctx, "http://"+s.metrics+"/metrics")
	if err != nil {
		return one, err
	}
	one.values = make(map[string]float64)
	for _, name := range sampled {
		one.values[name], _ = metric(text, name)
	}
	one.storage = s.proxy.tally().open
	var err1, err2 error
	one.resident, err1 = s.server.Status("VmRSS")
	one.memory, err2 = s.server.Status("RssAnon")
	return one, errors.Join(err1, err2)
}

// peak is the most anonymous memory that the server was seen with during the run.
func (r *load) peak() (most int64) {
	for _, s := range r.samples {
		most = max(most, s.memory)
	}
	return most
}

// tell tells the user how it goes.
func (r *load) tell(one sample) {
	t := r.tally()
	r.say("%d accepted, %d × 429, %d × 503, %d hung up, %d broken; verify %.0f busy %.0f waiting, publish %.0f busy %.0f waiting, "+
		"%.0f workspaces, spool %.0f MiB, %.0f MiB resident, %d connections to storage",
		t[accepted], t[overOwn], t[busy], t[hungUp], t[broken],
		one.values["tecken_verify_slots_busy"], one.values["tecken_verify_waiting"],
		one.values["tecken_publish_slots_busy"], one.values["tecken_publish_waiting"],
		one.values["tecken_spool_workspaces"], mebi(int64(one.values["tecken_spool_held_bytes"])), mebi(one.resident), one.storage)
}

// spread tells the mean and the most of a metric.
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

func of(name string) func(sample) float64 {
	return func(s sample) float64 { return s.values[name] }
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
