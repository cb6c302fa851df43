package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"tecken-upload/internal/lab/process"
)

// An Instance is a serving server.
type Instance struct {
	*process.Process
	Address string // host:port
	Metrics string // the metrics listener's
}

// serving returns the instance of that log entry.
func serving(p *process.Process, logged process.Entry) *Instance {
	return &Instance{Process: p, Address: logged.Text("address"), Metrics: logged.Text("metrics")}
}

// URL returns the URL of a path of the server.
func (i *Instance) URL(path string) string { return "http://" + i.Address + path }

// Post sends an upload.
func (i *Instance) Post(ctx context.Context, u Upload) Answer { return Post(ctx, i.Address, u) }

// Heartbeat returns a heartbeat's status, 0 without an answer, and its checks.
func (i *Instance) Heartbeat(ctx context.Context, path string) (status int, checks map[string]string) {
	status, text, err := Get(ctx, i.URL(path))
	var said struct{ Checks map[string]string }
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	if err != nil {
		return 0, nil
	}
	return status, said.Checks
}

// Healthy returns why the server's heartbeat is red, or nil.
func (i *Instance) Healthy(ctx context.Context) error {
	status, text, err := Get(ctx, i.URL("/__heartbeat__"))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the heartbeat is %d: %.300s", status, text)
	}
	return err
}

// Scrape returns the server's metrics.
func (i *Instance) Scrape(ctx context.Context) (Metrics, error) {
	status, text, err := Get(ctx, "http://"+i.Metrics+"/metrics")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the metrics are answered with %d: %.300s", status, text)
	}
	return Metrics(text), err
}

// restGauges are the metrics that are 0 when no upload is in progress; of one with labels, the sum.
var restGauges = []string{
	"tecken_admitted", "tecken_admitted_tenants", "tecken_admission_waiting", "tecken_admission_limited",
	"tecken_receiving", "tecken_unfinished_bytes", "tecken_tenant_leases", "tecken_fetch_places_busy", "tecken_fetch_waiting",
	"tecken_spool_held_bytes", "tecken_spool_reserved_bytes", "tecken_spool_workspaces", "tecken_spool_waiting",
	"tecken_verify_slots_busy", "tecken_verify_waiting", "tecken_verify_runaways",
	"tecken_publish_slots_busy", "tecken_publish_waiting", "tecken_publish_runaways",
	"tecken_stream_slots_busy", "tecken_stream_waiting", "tecken_stream_runaways",
	"tecken_uploads_in_receive", "tecken_uploads_in_verify", "tecken_uploads_in_publish", "tecken_uploads_in_record",
}

// AtRest returns what the server holds for uploads, or nil.
func (i *Instance) AtRest(ctx context.Context) error {
	m, err := i.Scrape(ctx)
	if err != nil {
		return err
	}
	return m.atRest()
}

func (m Metrics) atRest() error {
	var busy []string
	for _, name := range restGauges {
		if value, ok := m.Sum(name); !ok || value != 0 {
			busy = append(busy, fmt.Sprintf("%s %v", name, value))
		}
	}
	if len(busy) > 0 {
		return errors.New(strings.Join(busy, ", "))
	}
	return nil
}

// Metrics is the text of a scrape.
type Metrics string

// Sum adds up all series of a metric. The name may include labels as they are in the text: all of them, or the first.
func (m Metrics) Sum(name string) (sum float64, found bool) {
	for line := range strings.Lines(string(m)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || !strings.ContainsRune(" {,", rune(rest[0])) {
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

// Get returns the answer at url, over a connection of its own.
func Get(ctx context.Context, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	return resp.StatusCode, body, err
}
