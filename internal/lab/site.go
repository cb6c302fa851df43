package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tecken-upload/internal/testenv"
)

// A Storage is where a site keeps symbols.
type Storage string

// The storages.
const (
	Directory Storage = "directory"
	Versitygw Storage = "versitygw"
	MinIO     Storage = "MinIO"
)

// A Database is where a site keeps records.
type Database string

// The databases.
const (
	SQLite     Database = "SQLite"
	PostgreSQL Database = "PostgreSQL"
)

// awaitPause is between two calls of Await.
const awaitPause = 100 * time.Millisecond

// Sizes of a site's disks, in bytes.
const (
	spoolSize   = 128 << 20
	recordsSize = 64 << 20
	symbolsSize = 1 << 30
)

// A Config says what a site is to be.
type Config struct {
	Dir      string // where the disks and the logs are; it must exist
	Programs string // the directory with both programs, as Build makes it
	Storage  Storage
	Database Database
	Redis    bool              // the limits of tenants are shared through one
	Settings map[string]string // of both programs, by their variables
}

// A Site is everything that one server needs, and the server.
type Site struct {
	Config

	Server, Janitor         *Service // nil until they are started
	Spool, Records, Symbols *Disk    // Records is nil with PostgreSQL, Symbols without Directory

	s3       *testenv.S3Server        // nil without S3
	front    *testenv.TroubledS3      // the proxy in front of it
	postgres *testenv.PostgresCluster // nil without
	redis    *testenv.RedisServer     // nil without
	environ  map[string]string
}

// Build builds both programs into a directory.
func Build(t testing.TB, dir string) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "go", "build", "-C", testenv.Root(t), "-buildvcs=false", "-o", dir+"/",
		"./cmd/tecken-upload", "./cmd/disk-manager")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
}

// Open starts everything of a site but its programs.
func Open(t testing.TB, c Config) *Site {
	t.Helper()
	s := &Site{Config: c, environ: map[string]string{
		"TECKEN_LISTEN": "127.0.0.1:0", "TECKEN_METRICS_LISTEN": "127.0.0.1:0", "TECKEN_JANITOR_METRICS_LISTEN": "127.0.0.1:0",
		"TECKEN_ORPHAN_AGE": "0s", "TECKEN_SHUTDOWN_DELAY": "0s",
	}}
	s.Spool = newDisk(t, filepath.Join(s.Dir, "spooldisk"), spoolSize)
	s.environ["TECKEN_SPOOL_DIR"], s.environ["TECKEN_SPOOL_HEADROOM"] = s.spoolDir(), "8MiB"
	s.openStorage(t)
	if s.Database == SQLite {
		s.Records = newDisk(t, filepath.Join(s.Dir, "recordsdisk"), recordsSize)
		s.environ["TECKEN_DATABASE_URL"] = "sqlite:" + s.sqlitePath()
	} else {
		s.postgres = testenv.NewPostgres(t)
		s.environ["TECKEN_DATABASE_URL"] = s.postgres.Database(t)
	}
	if s.Redis {
		s.redis = testenv.Redis(t)
		s.environ["TECKEN_REDIS_URL"] = s.redis.URL()
	}
	maps.Copy(s.environ, c.Settings)
	return s
}

func (s *Site) openStorage(t testing.TB) {
	t.Helper()
	if s.Storage == Directory {
		s.Symbols = newDisk(t, filepath.Join(s.Dir, "symbolsdisk"), symbolsSize)
		s.environ["TECKEN_STORAGE_URL"] = "file:" + s.symbolsDir()
		return
	}
	start := testenv.S3
	if s.Storage == MinIO {
		start = testenv.MinIO
	}
	server := start(t)
	s.s3, s.front = &server, testenv.TroubleS3(t, server.Endpoint)
	s.environ["TECKEN_STORAGE_URL"] = server.Through(s.front.Endpoint)
	server.Setenv(t) // for the read-back
	for _, pair := range server.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		s.environ[name] = value
	}
}

func (s *Site) spoolDir() string   { return filepath.Join(s.Spool.Dir, "spool") }
func (s *Site) symbolsDir() string { return filepath.Join(s.Symbols.Dir, "symbols") }
func (s *Site) sqlitePath() string { return filepath.Join(s.Records.Dir, "records.db") }

// command returns one of the programs, with the site's settings, which is not started yet.
func (s *Site) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.Programs, name), args...)
	cmd.Dir, cmd.Env = s.Dir, []string{}
	for _, name := range slices.Sorted(maps.Keys(s.environ)) {
		cmd.Env = append(cmd.Env, name+"="+s.environ[name])
	}
	return cmd
}

// run runs a program to its end, and returns what it printed on standard output.
func run(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s: %w\n%s", cmd, err, failed.Stderr)
	}
	return string(out), err
}

// Token makes a token that may upload symbols, as an operator does.
func (s *Site) Token(t testing.TB, user string) string {
	t.Helper()
	out, err := run(s.command("tecken-upload", "token", "create", "--user", user, "--permission", "upload_symbols"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out, "\n")
}

// StartServer starts the server, to be started again whenever it ends, and waits until it serves.
func (s *Site) StartServer(t testing.TB) {
	t.Helper()
	s.Server = s.service(t, "tecken-upload", "serving")
}

// StartJanitor does the same with the disk manager.
func (s *Site) StartJanitor(t testing.TB) {
	t.Helper()
	s.Janitor = s.service(t, "disk-manager", "disk manager started")
}

// service starts one of the programs. What all of its lives print is in one file.
func (s *Site) service(t testing.TB, name, ready string) *Service {
	t.Helper()
	log, err := os.Create(filepath.Join(s.Dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	service, err := StartService(t.Context(), func() *exec.Cmd { return s.command(name) }, ready, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Stop() }) // the test has asked how it ends, if it wants to know
	if err := service.Serving(t.Context()); err != nil {
		t.Fatal(err)
	}
	return service
}

// Address returns where the server serves, or served last.
func (s *Site) Address() string { return s.Server.Logged("address") }

// Healthy reports why the server's heartbeat is red; nil where it is green.
func (s *Site) Healthy(ctx context.Context) error {
	_, err := get(ctx, "http://"+s.Address()+"/__heartbeat__")
	return err
}

// Await calls check again and again until it returns nil. It fails when ctx ends before that.
func Await(ctx context.Context, check func(context.Context) error) error {
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		Pause(ctx, awaitPause)
	}
}

// busyGauges are the metrics that are 0 when no upload is in progress; of one with labels, the sum.
var busyGauges = []string{
	"tecken_admitted", "tecken_admission_waiting", "tecken_receiving", "tecken_unfinished_bytes", "tecken_tenant_leases",
	"tecken_spool_held_bytes", "tecken_spool_reserved_bytes", "tecken_spool_workspaces", "tecken_spool_waiting",
	"tecken_verify_slots_busy", "tecken_verify_waiting", "tecken_publish_slots_busy", "tecken_publish_waiting",
	"tecken_uploads_in_receive", "tecken_uploads_in_verify", "tecken_uploads_in_publish", "tecken_uploads_in_record",
}

// AtRest reports what the server holds for uploads; nil where it holds nothing.
func (s *Site) AtRest(ctx context.Context) error {
	text, err := get(ctx, "http://"+s.Server.Logged("metrics")+"/metrics")
	if err != nil {
		return err
	}
	var busy []string
	for _, name := range busyGauges {
		if value, ok := metric(text, name); !ok || value != 0 {
			busy = append(busy, fmt.Sprintf("%s %v", name, value))
		}
	}
	if len(busy) > 0 {
		return errors.New(strings.Join(busy, ", "))
	}
	return nil
}

// metric sums the values of all series of a name.
func metric(text, name string) (sum float64, found bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
		if err == nil {
			sum, found = sum+value, true
		}
	}
	return sum, found
}

// get returns what is at url, over a connection of its own. It fails on any answer but a 200.
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
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.300s", url, resp.Status, body)
	}
	return string(body), err
}
