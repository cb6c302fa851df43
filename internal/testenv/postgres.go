package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	postgresUser = "tecken"
	// postgresWait bounds the start and the stop of a cluster, generously: the machine may be busy.
	postgresWait = Patience
	postgresPoll = 20 * time.Millisecond
)

// sharedPostgres is the cluster with the databases of Postgres, one per test binary.
var sharedPostgres = sync.OnceValues(newPostgres)

// Postgres returns the URL of the test's own empty database, in a cluster that all tests of the binary share. The test is skipped if
// PostgreSQL is not installed.
func Postgres(t testing.TB) (url string) {
	t.Helper()
	p, err := sharedPostgres()
	postgresFailed(t, err)
	return p.Database(t)
}

// NewPostgres starts the test's own cluster, which it may stop and start. It takes a second or two. The test is skipped if PostgreSQL is
// not installed.
func NewPostgres(t testing.TB) *PostgresCluster {
	t.Helper()
	p, err := newPostgres()
	postgresFailed(t, err)
	t.Cleanup(p.remove)
	return p
}

func postgresFailed(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, exec.ErrNotFound) {
		Missing(t, "PostgreSQL", "scripts/test installs Debian's package postgresql.")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A PostgresCluster is a PostgreSQL server that listens on a unix socket only, in a folder of its own. Both end with the test process,
// however that ends.
type PostgresCluster struct {
	dir       string
	bin       string // the folder of its programs
	sys       *syscall.SysProcAttr
	databases atomic.Int64
	release   func() error // starts the reaper's work

	server  *exec.Cmd // nil while stopped
	demoted bool
}

// Socket returns the path of the server's socket.
func (p *PostgresCluster) Socket() string { return filepath.Join(p.dir, socketName) }

// reaper waits for the end of its standard input, at the latest with the test process, then stops the server and removes the folder.
const reaper = `cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
	kill -QUIT "$pid"
	while kill -0 "$pid" 2>/dev/null && [ -e "$1/data/postmaster.pid" ]; do sleep 0.05; done
fi
rm -rf "$1"`

func newPostgres() (*PostgresCluster, error) { return makePostgres((*PostgresCluster).init) }

// Standby starts a standby of the cluster, which follows it until its promotion.
func (p *PostgresCluster) Standby(t testing.TB) *PostgresCluster {
	t.Helper()
	s, err := makePostgres(func(s *PostgresCluster) error { return s.copy(p) })
	postgresFailed(t, err)
	t.Cleanup(s.remove)
	return s
}

// copy makes the cluster a standby of another one, and starts it.
func (p *PostgresCluster) copy(primary *PostgresCluster) error {
	return p.make("pg_basebackup", "--pgdata", filepath.Join(p.dir, "data"), "--host", primary.dir, "--username", postgresUser,
		"--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast", "--no-sync")
}

// Demote makes the server read-only, for existing sessions too, and waits until its standbys have everything.
func (p *PostgresCluster) Demote(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, postgresWait)
	defer cancel()
	p.demoted = true
	for _, statement := range []string{"ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"} {
		if err := p.Exec(ctx, statement); err != nil {
			return err
		}
	}
	// It divides by zero while something is missing.
	return until(ctx, func() error {
		return p.Exec(ctx, `SELECT 1 / (current_setting('default_transaction_read_only')::boolean
			AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_xid IS NOT NULL)
			AND NOT EXISTS (SELECT FROM pg_stat_replication WHERE replay_lsn < pg_current_wal_lsn()))::integer`)
	})
}

// Promote makes a standby a primary, once it has everything from a primary that has stopped, and waits until it takes writes.
func (p *PostgresCluster) Promote(ctx context.Context) error {
	return p.run(ctx, "pg_ctl", "promote", "--pgdata", filepath.Join(p.dir, "data"), "--wait")
}

// makePostgres makes a cluster in a new folder.
func makePostgres(init func(*PostgresCluster) error) (*PostgresCluster, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	// A socket's path has at most 107 bytes, which the usual folders of tests exceed.
	dir, err := os.MkdirTemp("/tmp", "tecken-postgres-")
	if err != nil {
		return nil, err
	}
	p := &PostgresCluster{dir: dir, bin: bin}
	if err := p.startReaper(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := init(p); err != nil {
		p.remove()
		return nil, err
	}
	return p, nil
}

// init makes an empty cluster, and starts it.
func (p *PostgresCluster) init() error {
	return p.make("initdb", "--pgdata", filepath.Join(p.dir, "data"),
		"--username", postgresUser, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
}

// make makes the cluster with one of PostgreSQL's programs, and starts it.
func (p *PostgresCluster) make(program string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), postgresWait)
	defer cancel()
	// A group of its own: Ctrl-C reaches the test, and the server only through the reaper.
	p.sys = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		cred, err := postgresCredential()
		if err != nil {
			return err
		}
		p.sys.Credential = cred
	}
	if err := p.own(p.dir); err != nil {
		return err
	}
	if err := p.run(ctx, program, args...); err != nil {
		return err
	}
	return p.Start(ctx)
}

// run runs one of PostgreSQL's programs.
func (p *PostgresCluster) run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, program), args...)
	cmd.SysProcAttr, cmd.Dir = p.sys, p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}

// own gives a folder to the server's user.
func (p *PostgresCluster) own(dir string) error {
	if p.sys.Credential == nil {
		return nil
	}
	return os.Chown(dir, int(p.sys.Credential.Uid), int(p.sys.Credential.Gid))
}

// Database makes an empty database and returns its URL. It is dropped at the end of the test if the server then runs and takes writes.
func (p *PostgresCluster) Database(t testing.TB) (url string) {
	t.Helper()
	name := fmt.Sprintf("test%d", p.databases.Add(1))
	if err := p.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.server == nil || p.demoted {
			return
		}
		if err := p.Exec(context.WithoutCancel(t.Context()), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return p.url(name)
}

// Same returns the URL of the database at address in this cluster, its standby; later it looks in others.
func (p *PostgresCluster) Same(t testing.TB, address string, others ...*PostgresCluster) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	hosts := p.dir
	for _, other := range others {
		hosts += "," + other.dir
	}
	u.RawQuery = url.Values{"host": {hosts}}.Encode()
	return u.String()
}

// Start starts the server and waits until it answers.
func (p *PostgresCluster) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, postgresWait)
	defer cancel()
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// Not CommandContext: it outlives ctx.
	server := exec.Command(filepath.Join(p.bin, "postgres"), "-D", filepath.Join(p.dir, "data"), "-k", p.dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=32MB")
	server.SysProcAttr, server.Dir, server.Stdout, server.Stderr = p.sys, p.dir, log, log
	if err := server.Start(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	p.server = server
	if err := until(ctx, func() error { return p.Exec(ctx, "SELECT 1") }); err != nil {
		out, _ := os.ReadFile(log.Name())
		return fmt.Errorf("wait for PostgreSQL: %w\n%s", err, out)
	}
	return nil
}

// until waits until a call succeeds, and returns its last error where ctx ends first.
func until(ctx context.Context, call func() error) error {
	tick := time.NewTicker(postgresPoll)
	defer tick.Stop()
	for {
		err := call()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Stop ends the server at once with its connections, like a crash. It does nothing to a stopped server.
func (p *PostgresCluster) Stop(ctx context.Context) error { return p.end(ctx, syscall.SIGQUIT) }

// ShutDown ends the server's sessions with a message, and then the server. Its standbys then have everything.
func (p *PostgresCluster) ShutDown(ctx context.Context) error { return p.end(ctx, syscall.SIGINT) }

func (p *PostgresCluster) end(ctx context.Context, sig syscall.Signal) error {
	if p.server == nil {
		return nil
	}
	if err := p.Signal(sig); err != nil {
		return err
	}
	ended := make(chan error, 1)
	server := p.server
	go func() { ended <- server.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, postgresWait)
	defer cancel()
	select {
	case err := <-ended:
		p.server = nil
		if _, ok := errors.AsType[*exec.ExitError](err); ok {
			return nil
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop PostgreSQL: %w", context.Cause(ctx))
	}
}

// Signal sends a signal to the server: SIGTERM ends it once all clients are gone, SIGINT ends their sessions with a message, SIGQUIT
// without.
func (p *PostgresCluster) Signal(sig syscall.Signal) error { return p.server.Process.Signal(sig) }

// remove ends the cluster and removes its folder.
func (p *PostgresCluster) remove() {
	// Stopped by us, the server is reaped; the reaper does the rest, and its output is of no use.
	_ = p.Stop(context.Background())
	_ = p.release()
}

func (p *PostgresCluster) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(postgresUser), Path: "/" + database,
		RawQuery: url.Values{"host": {p.dir}}.Encode()}
	return u.String()
}

// Exec runs one statement in the maintenance database.
func (p *PostgresCluster) Exec(ctx context.Context, statement string) (err error) {
	conn, err := pgx.Connect(ctx, p.url("postgres"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

// startReaper starts the clean-up. It is a process of its own because nothing of this one runs after a kill; its session is its own so that
// no terminal ends it.
func (p *PostgresCluster) startReaper() error {
	cmd := exec.Command("/bin/sh", "-c", reaper, "reaper", p.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.release = func() error { return errors.Join(stdin.Close(), cmd.Wait()) }
	return nil
}

// postgresBin returns the newest folder of initdb and postgres. The error wraps exec.ErrNotFound if there is none.
func postgresBin() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		path, err = filepath.EvalSymlinks(path) // the others are beside it
		return filepath.Dir(path), err
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("initdb: %w", exec.ErrNotFound)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// postgresCredential returns an unprivileged user: PostgreSQL refuses to run as root.
func postgresCredential() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
