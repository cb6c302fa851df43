package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tecken-upload/internal/lab/process"
	"tecken-upload/internal/testenv"
)

// A Storage is a kind of storage for symbols.
type Storage string

// The storages.
const (
	Directory Storage = "directory"
	Versitygw Storage = "versitygw"
	MinIO     Storage = "MinIO"
)

// A Database is a kind of database for records.
type Database string

// The databases.
const (
	SQLite     Database = "SQLite"
	PostgreSQL Database = "PostgreSQL"
)

// Sizes of the disks of a site with faults, in bytes.
const (
	spoolSize   = 128 << 20
	recordsSize = 64 << 20
	symbolsSize = 1 << 30
)

// A Config describes a site.
type Config struct {
	Dir       string            // the programs' working directory, with their logs; "": the test's own
	Programs  string            // the directory of both programs; "": they are built
	Storage   Storage           // "": Directory
	Database  Database          // "": SQLite
	Redis     bool              // instances share tenants' limits through one
	ForFaults bool              // it has what Faults need: small disks, a proxy before S3
	Settings  map[string]string // of both programs, by their variables; they win over the site's own
}

// A Site is servers and disk managers with everything that they need. It ends with its test.
type Site struct {
	testing.TB
	Config

	Server, Janitor         *Service         // nil until they are started
	Spool, Records, Symbols *Disk            // nil without faults, Records with PostgreSQL, Symbols with S3
	S3                      testenv.S3Server // empty without S3

	trouble  *testenv.TroubledS3      // the proxy before S3; nil without faults
	postgres *testenv.PostgresCluster // nil without
	redis    *testenv.RedisServer     // nil without
}

// Open starts a site, without its programs.
func Open(t testing.TB, c Config) *Site {
	t.Helper()
	s := &Site{TB: t, Config: c}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	if s.Programs == "" {
		s.Programs = Programs(t)
	}
	s.Settings = map[string]string{
		"TECKEN_LISTEN": "127.0.0.1:0", "TECKEN_METRICS_LISTEN": "127.0.0.1:0", "TECKEN_JANITOR_METRICS_LISTEN": "127.0.0.1:0",
		"TECKEN_SHUTDOWN_DELAY": "0s", "TECKEN_ORPHAN_AGE": "0s",
		// These are their defaults.
		"TECKEN_SPOOL_DIR": "data/spool", "TECKEN_STORAGE_URL": "file:data/symbols", "TECKEN_DATABASE_URL": "sqlite:data/tecken.db",
	}
	switch s.Storage {
	case Versitygw:
		s.UseS3(testenv.S3(t))
	case MinIO:
		s.UseS3(testenv.MinIO(t))
	}
	if s.Database == PostgreSQL {
		s.postgres = testenv.NewPostgres(t)
		s.Settings["TECKEN_DATABASE_URL"] = s.postgres.Database(t)
	}
	if s.Redis {
		s.redis = testenv.Redis(t)
		s.Settings["TECKEN_REDIS_URL"] = s.redis.URL()
	}
	if s.ForFaults {
		s.prepareFaults()
	}
	maps.Copy(s.Settings, c.Settings)
	return s
}

// UseS3 makes an S3 server the site's storage.
func (s *Site) UseS3(server testenv.S3Server) {
	s.S3, s.Settings["TECKEN_STORAGE_URL"] = server, server.URL()
	for _, pair := range server.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		s.Settings[name] = value
	}
}

// prepareFaults puts the spool, and files of records and symbols, on disks of their own, and a proxy before S3.
func (s *Site) prepareFaults() {
	disk := func(name string, size int64) *Disk { return NewDisk(s, filepath.Join(s.Dir, name), size) }
	s.Spool = disk("spooldisk", spoolSize)
	s.Settings["TECKEN_SPOOL_DIR"], s.Settings["TECKEN_SPOOL_HEADROOM"] = filepath.Join(s.Spool.Dir, "spool"), "8MiB"
	if s.S3.Endpoint != "" {
		s.trouble = testenv.TroubleS3(s, s.S3.Endpoint)
		s.Settings["TECKEN_STORAGE_URL"] = s.S3.Through(s.trouble.Endpoint)
	} else {
		s.Symbols = disk("symbolsdisk", symbolsSize)
		s.Settings["TECKEN_STORAGE_URL"] = "file:" + filepath.Join(s.Symbols.Dir, "symbols")
	}
	if s.postgres == nil {
		s.Records = disk("recordsdisk", recordsSize)
		s.Settings["TECKEN_DATABASE_URL"] = "sqlite:" + filepath.Join(s.Records.Dir, "records.db")
	}
}

// path returns the path of a setting's file or directory.
func (s *Site) path(setting string) string {
	if filepath.IsAbs(setting) {
		return setting
	}
	return filepath.Join(s.Dir, setting)
}

// SpoolDir returns the directory of the spool.
func (s *Site) SpoolDir() string { return s.path(s.Settings["TECKEN_SPOOL_DIR"]) }

// sqliteFile returns the file of the records, if they are in one.
func (s *Site) sqliteFile() (path string, ok bool) {
	path, ok = strings.CutPrefix(s.Settings["TECKEN_DATABASE_URL"], "sqlite:")
	return s.path(path), ok
}

// symbolsDir returns the directory of the symbols, if they are in one.
func (s *Site) symbolsDir() (path string, ok bool) {
	path, ok = strings.CutPrefix(s.Settings["TECKEN_STORAGE_URL"], "file:")
	return s.path(path), ok
}

// Command returns one of the programs, with the site's settings, not yet started.
func (s *Site) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.Programs, name), args...)
	cmd.Dir, cmd.Env = s.Dir, []string{}
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		cmd.Env = append(cmd.Env, name+"="+s.Settings[name])
	}
	return cmd
}

// Run runs a program to its end, and returns its standard output.
func (s *Site) Run(name string, args ...string) (string, error) {
	cmd := s.Command(name, args...)
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s: %w\n%s", cmd, err, failed.Stderr)
	}
	return string(out), err
}

// Start starts a program, which is killed at the end if it still runs. Its output is logged if the test fails.
func (s *Site) Start(name string, args ...string) *process.Process {
	s.Helper()
	return s.StartCommand(s.Command(name, args...))
}

// StartCommand is Start of a command, as Command returns it.
func (s *Site) StartCommand(cmd *exec.Cmd) *process.Process {
	s.Helper()
	p, err := process.Start(cmd, s.log(filepath.Base(cmd.Path)))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := p.Kill(); err != nil {
			s.Error(err)
		}
		if s.Failed() {
			s.Logf("%s printed:\n%s", p.Name(), strings.Join(p.Lines(), "\n"))
		}
	})
	return p
}

// log opens the file of a program's output, of all its runs.
func (s *Site) log(name string) *os.File {
	s.Helper()
	log, err := os.OpenFile(filepath.Join(s.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { log.Close() })
	return log
}

// Serve starts a server, and waits until it listens.
func (s *Site) Serve() *Instance {
	s.Helper()
	return s.Serving(s.Start("tecken-upload"))
}

// Serving waits until a server listens that p is, or runs.
func (s *Site) Serving(p *process.Process) *Instance {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), testenv.Patience)
	defer cancel()
	logged, err := p.Logged(ctx, "serving")
	if err != nil {
		s.Fatal(err)
	}
	return serving(p, logged)
}

// ServeHealthy is Serve, and waits until the heartbeat is green.
func (s *Site) ServeHealthy() *Instance {
	s.Helper()
	i := s.Serve()
	ctx, cancel := context.WithTimeout(s.Context(), testenv.Patience)
	defer cancel()
	if err := Await(ctx, i.Healthy); err != nil {
		s.Fatal(err)
	}
	return i
}

// Token makes a token that may upload symbols, as an operator would. The arguments are more of "token create".
func (s *Site) Token(user string, args ...string) string {
	s.Helper()
	out, err := s.Run("tecken-upload", append([]string{"token", "create", "--user", user, "--permission", "upload_symbols"}, args...)...)
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSuffix(out, "\n")
}

// StartServer starts the server as a service, and waits until it serves.
func (s *Site) StartServer() {
	s.Helper()
	s.Server = s.service("tecken-upload", "serving")
}

// StartJanitor does the same with the disk manager.
func (s *Site) StartJanitor() {
	s.Helper()
	s.Janitor = s.service("disk-manager", "disk manager started")
}

// service starts one of the programs.
func (s *Site) service(name, ready string) *Service {
	s.Helper()
	service, err := StartService(s.Context(), func() *exec.Cmd { return s.Command(name) }, ready, s.log(name))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = service.Stop() }) // the test has asked how it ends, if it wants to know
	if err := service.Serving(s.Context()); err != nil {
		s.Fatal(err)
	}
	return service
}

// Instance returns the server of StartServer as it serves, or served last.
func (s *Site) Instance() *Instance { return serving(s.Server.Process(), s.Server.Served()) }
