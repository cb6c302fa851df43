package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tecken-upload/internal/sched"
	"tecken-upload/scripts/loadtest/program"
)

const (
	// startTimeout is how long a program may take until it serves. They take much less than a second.
	startTimeout = 60 * time.Second
	// spareConns are the server's connections to storage besides those of the slots that may be in use.
	spareConns = 4
	// answerLimit bounds what is read of an answer, in bytes.
	answerLimit = 4 << 20

	bucket = "symbols"
	region = "us-east-1"
	access = "load-access"
	secret = "load-secret"
)

// A tenant is a token and those who use it.
type tenant struct {
	name   string
	weight int
	share  int // of 100 clients
	token  string
}

// tenants are those of a run: one has most of the clients, as in the field.
func newTenants() []*tenant {
	return []*tenant{
		{name: "bulk", weight: 2, share: 70},
		{name: "heavy", weight: 3, share: 10},
		{name: "light", weight: 1, share: 10},
		{name: "other", weight: 1, share: 10},
	}
}

func (t *tenant) user() string { return t.name + "@example.com" }

// A site is the server under load, with storage, records and spool of its own, all of them empty at first.
type site struct {
	dir      string
	gateway  *program.Process
	storage  string // its address
	proxy    *proxy // between the server and that
	server   *program.Process
	address  string // of the server
	metrics  string // of its metrics
	database string // URL
	slots    int
	wait     time.Duration
	settings []string
}

// open starts a site in dir.
func open(ctx context.Context, o options, dir, server, gateway string) (_ *site, err error) {
	s := &site{dir: dir, database: o.database, slots: o.slots, wait: o.wait, settings: o.settings}
	if s.database == "" {
		s.database = "sqlite:" + s.records()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.startGateway(ctx, gateway); err != nil {
		return nil, err
	}
	if s.proxy, err = newProxy(s.storage, sched.MostInUse*o.slots+spareConns); err != nil {
		return nil, err
	}
	for _, t := range o.tenants {
		if t.token, err = s.makeToken(ctx, server, t); err != nil {
			return nil, err
		}
	}
	return s, s.startServer(ctx, server)
}

// stop ends the server, which must end well.
func (s *site) stop() error {
	p := s.server
	s.server = nil
	return p.Stop()
}

// close ends what still runs.
func (s *site) close() error {
	var errs []error
	if s.server != nil {
		errs = append(errs, s.stop())
	}
	if s.proxy != nil {
		errs = append(errs, s.proxy.close())
	}
	if s.gateway != nil {
		errs = append(errs, s.gateway.Stop())
	}
	return errors.Join(errs...)
}

// records is the file of a database of SQLite.
func (s *site) records() string { return filepath.Join(s.dir, "records.db") }

// sqlite reports whether the records are in such a database.
func (s *site) sqlite() bool { return strings.HasPrefix(s.database, "sqlite:") }

func (s *site) spool() string { return filepath.Join(s.dir, "spool") }

func (s *site) startGateway(ctx context.Context, path string) error {
	top := filepath.Join(s.dir, "storage")
	if err := os.MkdirAll(filepath.Join(top, bucket), 0o755); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.storage = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	s.gateway, err = program.Start(nil, filepath.Join(s.dir, "versitygw.log"), path, "--access", access, "--secret", secret,
		"--region", region, "--port", s.storage, "--keep-alive", "--quiet", "posix", top)
	if err != nil {
		return err
	}
	return s.gateway.Until(ctx, startTimeout, "start versitygw", func(ctx context.Context) bool {
		_, err := get(ctx, s.endpoint()+"/")
		return err == nil || errors.Is(err, errStatus)
	})
}

// endpoint is storage itself, past the proxy.
func (s *site) endpoint() string { return "http://" + s.storage }

func (s *site) environ() []string {
	query := url.Values{"region": {region}, "endpoint": {"http://" + s.proxy.address()}, "path_style": {"true"}}
	return append([]string{
		"AWS_ACCESS_KEY_ID=" + access,
		"AWS_SECRET_ACCESS_KEY=" + secret,
		"AWS_EC2_METADATA_DISABLED=true",
		"TECKEN_STORAGE_URL=s3://" + bucket + "?" + query.Encode(),
		"TECKEN_STORAGE_SLOTS=" + strconv.Itoa(s.slots),
		"TECKEN_ADMISSION_WAIT=" + s.wait.String(),
		"TECKEN_DATABASE_URL=" + s.database,
		"TECKEN_SPOOL_DIR=" + s.spool(),
		"TECKEN_LISTEN=127.0.0.1:0",
		"TECKEN_METRICS_LISTEN=127.0.0.1:0",
		"TECKEN_SHUTDOWN_DELAY=0s",
	}, s.settings...)
}

func (s *site) makeToken(ctx context.Context, path string, t *tenant) (string, error) {
	cmd := exec.CommandContext(ctx, path, "token", "create", "--user", t.user(), "--permission", "upload_symbols",
		"--weight", strconv.Itoa(t.weight))
	cmd.Env = s.environ()
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("make a token: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (s *site) startServer(ctx context.Context, path string) (err error) {
	if s.server, err = program.Start(s.environ(), filepath.Join(s.dir, "server.log"), path, "serve"); err != nil {
		return err
	}
	return s.server.Until(ctx, startTimeout, "start the server", func(ctx context.Context) bool {
		if s.address == "" && !s.findAddress() {
			return false
		}
		_, err := get(ctx, "http://"+s.address+"/__heartbeat__")
		return err == nil
	})
}

// findAddress looks into the server's log for where it serves.
func (s *site) findAddress() bool {
	lines, err := s.server.Log()
	if err != nil {
		return false
	}
	for _, line := range lines {
		var entry struct{ Msg, Address, Metrics string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "serving" {
			s.address, s.metrics = entry.Address, entry.Metrics
			return true
		}
	}
	return false
}

// complaints counts what the server logged as warnings and errors, by message and error.
func complaints(p *program.Process) (map[string]int, error) {
	lines, err := p.Log()
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	for _, line := range lines {
		var entry struct{ Level, Msg, Err string }
		switch err := json.Unmarshal(line, &entry); {
		case err != nil:
			found[string(line)]++
		case entry.Level == "WARN", entry.Level == "ERROR":
			found[strings.TrimSpace(entry.Level+" "+entry.Msg+" "+entry.Err)]++
		}
	}
	return found, nil
}

// errStatus is an answer other than 200.
var errStatus = errors.New("unexpected status")

// get returns what is at url, over a connection that is closed then.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w: %s", errStatus, resp.Status)
	}
	return string(body), nil
}
