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
	"strings"
	"time"
)

const (
	// startTimeout is how long a server may take until it serves. They take much less than a second.
	startTimeout = 30 * time.Second

	bucket = "symbols"
	region = "us-east-1"
	access = "bench-access"
	secret = "bench-secret"
)

// A site is a server with storage, records and spool of its own, all of them empty at first.
type site struct {
	dir      string
	spool    string
	gateway  *process
	endpoint string // of the gateway
	server   *process
	address  string // of the server
	metrics  string // of its metrics
	token    string
}

// open starts a site. Its spool is made in spoolDir, or beside the rest where that is empty.
func (l *lab) open(ctx context.Context, spoolDir string) (_ *site, err error) {
	s := &site{spool: spoolDir}
	if s.dir, err = os.MkdirTemp(l.dir, "site-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.spool == "" {
		s.spool = filepath.Join(s.dir, "spool")
	}
	if err := s.startGateway(ctx, l.gateway); err != nil {
		return nil, err
	}
	if err := s.makeToken(ctx, l.server); err != nil {
		return nil, err
	}
	return s, s.startServer(ctx, l.server)
}

// close ends the site and deletes all of it.
func (s *site) close() error {
	var errs []error
	for _, p := range []*process{s.server, s.gateway} {
		if p != nil {
			_, err := p.stop()
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// stopServer ends the server, and returns the CPU time it has used in all.
func (s *site) stopServer() (time.Duration, error) {
	p := s.server
	s.server = nil
	return p.stop()
}

func (s *site) startGateway(ctx context.Context, program string) (err error) {
	top := filepath.Join(s.dir, "storage")
	if err := os.MkdirAll(filepath.Join(top, bucket), 0o755); err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	s.endpoint = "http://" + address
	s.gateway, err = start(nil, program, "--access", access, "--secret", secret, "--region", region,
		"--port", address, "--keep-alive", "--quiet", "posix", top)
	if err != nil {
		return err
	}
	return s.gateway.until(ctx, startTimeout, "start versitygw", func(ctx context.Context) bool {
		_, err := get(ctx, s.endpoint+"/")
		return err == nil || errors.Is(err, errStatus)
	})
}

// records is the database's file.
func (s *site) records() string { return filepath.Join(s.dir, "records.db") }

func (s *site) environ() []string {
	query := url.Values{"region": {region}, "endpoint": {s.endpoint}, "path_style": {"true"}}
	return []string{
		"AWS_ACCESS_KEY_ID=" + access,
		"AWS_SECRET_ACCESS_KEY=" + secret,
		"AWS_EC2_METADATA_DISABLED=true",
		"TECKEN_STORAGE_URL=s3://" + bucket + "?" + query.Encode(),
		"TECKEN_DATABASE_URL=sqlite:" + s.records(),
		"TECKEN_SPOOL_DIR=" + s.spool,
		"TECKEN_LISTEN=127.0.0.1:0",
		"TECKEN_METRICS_LISTEN=127.0.0.1:0",
		"TECKEN_SHUTDOWN_DELAY=0s",
	}
}

func (s *site) makeToken(ctx context.Context, program string) error {
	cmd := exec.CommandContext(ctx, program, "token", "create", "--user", "bench@example.com", "--permission", "upload_symbols")
	cmd.Env = s.environ()
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	s.token = strings.TrimSpace(string(out))
	return nil
}

func (s *site) startServer(ctx context.Context, program string) (err error) {
	if s.server, err = start(s.environ(), program, "serve"); err != nil {
		return err
	}
	return s.server.until(ctx, startTimeout, "start the server", func(ctx context.Context) bool {
		if s.address == "" && !s.findAddress() {
			return false
		}
		_, err := get(ctx, "http://"+s.address+"/__heartbeat__")
		return err == nil
	})
}

// findAddress looks into the server's log for where it serves.
func (s *site) findAddress() bool {
	for _, line := range s.server.output.lines() {
		var entry struct{ Msg, Address, Metrics string }
		if json.Unmarshal(line, &entry) == nil && entry.Msg == "serving" {
			s.address, s.metrics = entry.Address, entry.Metrics
			return true
		}
	}
	return false
}

// freeAddress returns an address of this machine that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
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
