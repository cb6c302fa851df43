package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"tecken-upload/internal/config"
)

const (
	// leastMemory and mostMemory are how much more anonymous memory it may have then than when it was idle and warm, whatever it had
	// during the run: its pools are filled now, and Go's allocator keeps some of what it had.
	leastMemory, mostMemory = 12 * int64(config.MiB), 48 * int64(config.MiB)
	// settleInterval is how often a server is asked whether it is at rest.
	settleInterval = time.Second
	// settleTimeout is how long it may take to get there at first.
	settleTimeout = 30 * time.Second
	// databaseConns is the default of TECKEN_DATABASE_MAX_CONNS.
	databaseConns = 10
	// goroutinesPerConn is how many goroutines of net/http a connection to storage has.
	goroutinesPerConn = 2
)

// restGauges are the metrics that are 0 when the server is idle; of one with labels, the sum. A server must have them all.
var restGauges = []string{
	"tecken_admitted", "tecken_admitted_tenants", "tecken_admission_waiting", "tecken_admission_limited",
	"tecken_receiving", "tecken_unfinished_bytes", "tecken_tenant_leases", "tecken_fetch_places_busy", "tecken_fetch_waiting",
	"tecken_spool_held_bytes", "tecken_spool_reserved_bytes", "tecken_spool_workspaces", "tecken_spool_waiting",
	"tecken_verify_slots_busy", "tecken_verify_waiting", "tecken_verify_runaways",
	"tecken_publish_slots_busy", "tecken_publish_waiting", "tecken_publish_runaways",
	"tecken_stream_slots_busy", "tecken_stream_waiting", "tecken_stream_runaways",
	"tecken_uploads_in_receive", "tecken_uploads_in_verify", "tecken_uploads_in_publish", "tecken_uploads_in_record",
}

// busyGauges tells which restGauges in a server's metrics are not 0; "" for none.
func busyGauges(text string) (busy string, err error) {
	for _, name := range restGauges {
		value, ok := metric(text, name)
		if !ok {
			return "", fmt.Errorf("there is no metric %s", name)
		}
		if value != 0 {
			busy += fmt.Sprintf(", %s %v", name, value)
		}
	}
	return busy, nil
}

// memorySlack is how much more anonymous memory than idle a server may have that had peak in the run: less than half of
// what the run took, so that one that gives nothing back is found out.
func memorySlack(idle, peak int64) int64 {
	return min(max(leastMemory, (peak-idle)*2/5), mostMemory)
}

// inUse is what a server has in use, apart from its two pools, which are bounded and are kept for the next upload.
type inUse struct {
	goroutines  int
	descriptors int
	names       int    // files and directories in the spool
	memory      int64  // RssAnon: what it has allocated, without the pages of its program
	resident    int64  // VmRSS
	spare       int    // descriptors that may be of the database's pool: its sockets can't be told from others
	busy        string // restGauges that are not 0
}

// String implements fmt.Stringer.
func (u inUse) String() string {
	return fmt.Sprintf("%d goroutines and %d descriptors besides the pools, %d names in the spool, %.0f MiB of anonymous memory (%.0f resident)%s",
		u.goroutines, u.descriptors, u.names, mebi(u.memory), mebi(u.resident), u.busy)
}

// over tells what u has in use beyond idle, and for memory beyond slack more; "" for nothing.
func (u inUse) over(idle inUse, slack int64) string {
	var over []string
	if u.goroutines > idle.goroutines {
		over = append(over, fmt.Sprintf("%d goroutines", u.goroutines-idle.goroutines))
	}
	if u.descriptors > idle.descriptors+u.spare {
		over = append(over, fmt.Sprintf("%d descriptors", u.descriptors-idle.descriptors))
	}
	if u.names > idle.names {
		over = append(over, fmt.Sprintf("%d names in the spool", u.names-idle.names))
	}
	if u.memory > idle.memory+slack {
		over = append(over, fmt.Sprintf("%.0f MiB of memory", mebi(u.memory-idle.memory)))
	}
	return strings.TrimPrefix(strings.Join(over, ", ")+u.busy, ", ")
}

// measure asks the server, the kernel and the file system. Each time makes the server some garbage, so that asking
// often also lets its collector run.
func (s *site) measure(ctx context.Context) (u inUse, err error) {
	text, err := get(ctx, "http://"+s.metrics+"/metrics")
	if err != nil {
		return u, fmt.Errorf("ask for the metrics: %w", err)
	}
	storage := s.proxy.tally().open
	goroutines, ok1 := metric(text, "go_goroutines")
	descriptors, ok2 := metric(text, "process_open_fds")
	if !ok1 || !ok2 {
		return u, errors.New("there is no metric go_goroutines or process_open_fds")
	}
	u.goroutines = int(goroutines) - goroutinesPerConn*storage
	if u.busy, err = busyGauges(text); err != nil {
		return u, err
	}
	records, err1 := s.server.Open(s.records())
	u.descriptors = int(descriptors) - records - storage
	if !s.sqlite() {
		u.spare = databaseConns
	}
	entries, err2 := os.ReadDir(s.spool())
	u.names = len(entries)
	var err3, err4 error
	u.memory, err3 = s.server.Status("RssAnon")
	u.resident, err4 = s.server.Status("VmRSS")
	return u, errors.Join(err1, err2, err3, err4)
}

// metric sums the values of all series of a name.
func metric(text, name string) (sum float64, found bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		fields := strings.Fields(rest[strings.LastIndexByte(rest, '}')+1:])
		if len(fields) == 0 {
			continue
		}
		if value, err := strconv.ParseFloat(fields[0], 64); err == nil {
			sum, found = sum+value, true
		}
	}
	return sum, found
}

// settle returns what the server has in use once that no longer changes, apart from its memory.
func (s *site) settle(ctx context.Context) (u inUse, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, settleTimeout, errors.New("the server does not come to rest before the run"))
	defer cancel()
	// Not more often: the connection of one measurement is to be gone before the next.
	ticks := time.NewTicker(settleInterval)
	defer ticks.Stop()
	for {
		last := u
		if u, err = s.measure(ctx); err != nil {
			return u, err
		}
		if u.busy == "" && u.goroutines == last.goroutines && u.descriptors == last.descriptors {
			return u, nil
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return u, fmt.Errorf("%w: %v", context.Cause(ctx), u)
		}
	}
}

// rest waits until the server has no more in use than when it was idle, and slack more memory, and returns what that is, and how long
// after the last answer. It fails where that takes longer than limit.
func (s *site) rest(ctx context.Context, idle inUse, slack int64, last time.Time, limit time.Duration) (u inUse, took time.Duration, err error) {
	var fault error
	err = s.server.Until(ctx, limit-time.Since(last), "come to rest", func(ctx context.Context) bool {
		now, err := s.measure(ctx)
		if err != nil {
			if ctx.Err() == nil {
				fault = err
			}
			return fault != nil
		}
		u = now
		return u.over(idle, slack) == ""
	})
	if err := errors.Join(err, fault); err != nil {
		return u, time.Since(last), fmt.Errorf("%w: still in use beyond idle: %s", err, u.over(idle, slack))
	}
	return u, time.Since(last), nil
}

func mebi(n int64) float64 { return float64(n) / float64(config.MiB) }
