package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"tecken-upload/internal/config"
	"tecken-upload/internal/lease"
	"tecken-upload/internal/lease/redislease"
	"tecken-upload/internal/record"
	"tecken-upload/internal/upload"
)

const (
	// limitsTimeout bounds the wait for leases.
	limitsTimeout = 10 * time.Second
	// limitsRecordsTimeout bounds the wait for the database, which only adds to the output.
	limitsRecordsTimeout = 5 * time.Second
	// maxLeasesBody bounds a server's answer, in bytes: about 300,000 leases.
	maxLeasesBody = 64 << 20
)

// limitsCommand lists tenants' leases: with Redis the whole fleet's, without the need of a running server; else those of the server on this
// machine.
type limitsCommand struct {
	config.Database
	config.Tenants
	MetricsListen string `name:"tecken-metrics-listen" default:"127.0.0.1:8001" help:"Without Redis: the running server's address for /metrics."`
	JSON          bool   `help:"Print one JSON object a tenant, each on a line."`
}

// A tenantLimit is a tenant with leases. User and limit are zero if unknown.
type tenantLimit struct {
	Tenant int64         `json:"tenant"`
	User   string        `json:"user,omitempty"`
	Held   int           `json:"held"`
	Limit  int           `json:"limit,omitempty"`
	Leases []lease.Lease `json:"leases"`
}

// Run is called by kong.
func (c *limitsCommand) Run(p *process) error {
	ctx, cancel := context.WithTimeout(p.ctx, limitsTimeout)
	defer cancel()
	held, err := c.held(ctx, p.stderr)
	if err != nil {
		return err
	}
	tokens, err := c.tokens(p)
	if err != nil {
		fmt.Fprintf(p.stderr, "Users and limits are unknown: %v\n", err)
	}
	limits := limitsOf(held, tokens)
	if !c.JSON {
		return printLimits(p.stdout, limits)
	}
	encoder := json.NewEncoder(p.stdout)
	for i := range limits {
		if err := encoder.Encode(&limits[i]); err != nil {
			return fmt.Errorf("print tenant %d: %w", limits[i].Tenant, err)
		}
	}
	return nil
}

// held gets the leases from Redis, or from the server on this machine. Redis has no limits: those come from this command's settings, which
// must be the fleet's.
func (c *limitsCommand) held(ctx context.Context, notes io.Writer) (held heldLeases, err error) {
	if c.RedisURL == "" {
		fmt.Fprintln(notes, "TECKEN_REDIS_URL is not set: these are the leases of the server on this machine alone.")
		return askServer(ctx, c.MetricsListen)
	}
	table, err := redislease.Open(c.RedisURL, c.TenantStale)
	if err != nil {
		return held, fmt.Errorf("TECKEN_REDIS_URL: %w", err)
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	held.TenantUploads = c.TenantUploads
	if held.Leases, err = table.List(ctx); err != nil {
		return held, fmt.Errorf("ask Redis: %w (without TECKEN_REDIS_URL the server on this machine is asked)", err)
	}
	return held, nil
}

// tokens returns all tokens.
func (c *limitsCommand) tokens(p *process) (tokens []upload.Token, err error) {
	if err := existing(c.Database); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(p.ctx, limitsRecordsTimeout)
	defer cancel()
	err = withRecords(&process{ctx: ctx}, c.Database, func(ctx context.Context, records *record.Store) error {
		tokens, err = records.Tokens(ctx)
		return err
	})
	return tokens, err
}

// limitsOf joins leases and tokens by tenant.
func limitsOf(held heldLeases, tokens []upload.Token) []tenantLimit {
	known := map[int64]upload.Token{}
	for _, t := range tokens {
		known[t.ID] = t
	}
	leases := slices.Clone(held.Leases)
	lease.Sort(leases)
	var limits []tenantLimit
	for _, l := range leases {
		if len(limits) == 0 || limits[len(limits)-1].Tenant != l.Tenant {
			t := known[l.Tenant]
			limits = append(limits, tenantLimit{Tenant: l.Tenant, User: t.User, Limit: held.TenantUploads * t.Weight})
		}
		last := &limits[len(limits)-1]
		last.Held++
		last.Leases = append(last.Leases, l)
	}
	return limits
}

// printLimits prints one line a lease.
func printLimits(w io.Writer, limits []tenantLimit) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENANT\tUSER\tHELD\tLIMIT\tINSTANCE\tSINCE\tRENEWED")
	for i := range limits {
		t := &limits[i]
		user, limit := "-", "-"
		if t.Limit > 0 {
			user, limit = t.User, fmt.Sprint(t.Limit)
		}
		for _, l := range t.Leases {
			fmt.Fprintf(table, "%d\t%s\t%d\t%s\t%s\t%s\t%s\n", t.Tenant, user, t.Held, limit, l.Instance, timeText(l.Since), timeText(l.Renewed))
		}
	}
	return table.Flush()
}

// heldLeases are leases, and the limit of a tenant of weight 1: the answer to GET /leases.
type heldLeases struct {
	TenantUploads int           `json:"tenant_uploads"`
	Leases        []lease.Lease `json:"leases"`
}

// leasesHandler answers GET /leases at the metrics listener with this instance's leases.
func leasesHandler(k *lease.Keeper, tenantUploads int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.Marshal(heldLeases{TenantUploads: tenantUploads, Leases: append([]lease.Lease{}, k.Held()...)})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(text, '\n')) // the client has gone
	})
}

// askServer returns the answer of the server with that metrics listener.
func askServer(ctx context.Context, address string) (held heldLeases, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" || port == "0" {
		return held, fmt.Errorf("TECKEN_METRICS_LISTEN is %q, which is no address of a server", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // it listens everywhere
	}
	url := "http://" + net.JoinHostPort(host, port) + "/leases"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return held, fmt.Errorf("ask the server: %w", err)
	}
	// No proxy: it is this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return held, fmt.Errorf("ask the server, which must run with the same TECKEN_METRICS_LISTEN: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return held, fmt.Errorf("ask the server: %s answers %s", url, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxLeasesBody)).Decode(&held); err != nil {
		return held, fmt.Errorf("ask the server: read the answer of %s: %w", url, err)
	}
	return held, nil
}
