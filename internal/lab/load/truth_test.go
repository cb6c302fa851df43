package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"tecken-upload/scripts/loadtest/program"
)

// quietUploads is how many uploads each tenant makes of a server with nothing else to do: enough that a refusal
// in twenty for no reason is seen.
const quietUploads = 25

// mostInLine is up to how many clients there is a place in the server's line for each of them: beyond that some may be
// refused at once.
const mostInLine = 500

// refusalsMetric counts what the server refused, for whatever reason. It is 0 when a server starts.
const refusalsMetric = "tecken_refusals_total"

// quietLine has one client of each tenant upload one archive after the other. There is room for all of them many times
// over, so that what is refused now is refused for no reason.
func (r *load) quietLine(ctx context.Context, clients []*client) line {
	r.say("a client of each tenant, alone")
	var wg sync.WaitGroup
	made := make([][]*attempt, len(r.tenants))
	for i, t := range r.tenants {
		c := clients[slices.Index(r.clientTenants, t)]
		wg.Go(func() { made[i] = c.quiet(ctx) })
	}
	wg.Wait()
	all := slices.Concat(made...)
	r.besides = append(r.besides, all...)
	return judgeQuiet(all, len(r.tenants))
}

// quiet makes uploads that are not cut off, and returns them.
func (c *client) quiet(ctx context.Context) (made []*attempt) {
	for len(made) < quietUploads && ctx.Err() == nil {
		j := c.plan()
		j.cut, j.send = nil, 0
		made = append(made, c.attempt(ctx, j, 0))
	}
	return made
}

func judgeQuiet(made []*attempt, tenants int) line {
	accepts := 0
	var faults []error
	for _, a := range made {
		if a.ending == accepted {
			accepts++
		} else {
			faults = append(faults, fmt.Errorf("%s to a server with room: %w", a.label, a.denied()))
		}
	}
	return line{
		measure:  fmt.Sprintf("%d clients of as many tenants, after the run", tenants),
		promised: "none is refused",
		measured: fmt.Sprintf("%d of %d accepted", accepts, len(made)),
		fault:    some(faults),
	}
}

// refusals asks the server how many uploads it has refused before their bodies, by what it answers then.
func (s *site) refusals(ctx context.Context) (map[ending]int, error) {
	text, err := get(ctx, "http://"+s.metrics+"/metrics")
	if err != nil {
		return nil, fmt.Errorf("ask for the metrics: %w", err)
	}
	return readRefusals(text)
}

func readRefusals(text string) (map[ending]int, error) {
	limit, ok := metric(text, refusalsMetric+`{reason="limit"}`)
	if !ok {
		return nil, fmt.Errorf("there is no metric %s with the reason limit", refusalsMetric)
	}
	room := 0.0
	for _, reason := range []string{"receiving", "spool", "time", "queue", "fetch"} {
		n, _ := metric(text, fmt.Sprintf("%s{reason=%q}", refusalsMetric, reason))
		room += n
	}
	return map[ending]int{overOwn: int(limit), busy: int(room)}, nil
}

// refusalsLine compares what clients were refused with what the server counted: a 503 that it does not count is no refusal, but
// a failure of its own; and looks for those that were refused before they had waited. Of uploads whose client hung up and that left no record, it may have refused any.
func (r *load) refusalsLine(rows []row, counted map[ending]int) line {
	recorded := make(map[string]bool, len(rows))
	for _, row := range rows {
		recorded[row.label] = true
	}
	told, unheard := make(map[ending]int), 0
	var faults []error
	for _, a := range r.all() {
		if a.refused() {
			told[a.ending]++
			if a.took < r.wait && r.clients <= mostInLine {
				faults = append(faults, fmt.Errorf("%s after %v: %w", a.label, a.took.Round(time.Millisecond), a.denied()))
			}
		}
		if a.ending == hungUp && !recorded[a.label] {
			unheard++
		}
	}
	l := line{
		measure:  "refusals that the server counts, of what there was no room for",
		promised: fmt.Sprintf("as many as were answered, and some of those that hung up; none before %v", r.wait),
		measured: fmt.Sprintf("%d × 429 answered, %d counted; %d × 503 answered, %d counted; %d hung up and left no record",
			told[overOwn], counted[overOwn], told[busy], counted[busy], unheard),
	}
	for _, e := range []ending{overOwn, busy} {
		if told[e] > counted[e] {
			faults = append(faults, fmt.Errorf("%d × %s answered, of which %d are refusals", told[e], e, counted[e]))
		}
	}
	if silent := counted[overOwn] + counted[busy] - told[overOwn] - told[busy]; silent > unheard {
		faults = append(faults, fmt.Errorf("%d refusals counted that nobody was told of, of %d who may have missed one", silent, unheard))
	}
	l.fault = some(faults)
	return l
}

// errorsLine tells what the server has logged as errors, until it ended.
func (r *load) errorsLine(server *program.Process) line {
	found, err := complaints(server)
	if err != nil {
		return line{measure: "errors that the server logged", promised: "none", fault: err}
	}
	r.sayComplaints(found)
	return judgeComplaints(found)
}

// judgeComplaints takes for an error whatever is no warning: a panic's trace has no level.
func judgeComplaints(found map[string]int) line {
	logged, warnings := 0, 0
	var faults []error
	for _, what := range slices.Sorted(maps.Keys(found)) {
		n := found[what]
		if strings.HasPrefix(what, "WARN ") {
			warnings += n
			continue
		}
		logged += n
		faults = append(faults, fmt.Errorf("the server logged %d × %.300s", n, what))
	}
	return line{
		measure:  "errors that the server logged",
		promised: "none",
		measured: fmt.Sprintf("%d, and %d warnings", logged, warnings),
		fault:    some(faults),
	}
}

// sayComplaints tells what the server logged as warnings and errors.
func (r *load) sayComplaints(found map[string]int) {
	for i, what := range slices.Sorted(maps.Keys(found)) {
		if i == 2*mostFaults {
			r.say("and %d other kinds", len(found)-i)
			break
		}
		r.say("the server logged %d × %.300s", found[what], what)
	}
}
