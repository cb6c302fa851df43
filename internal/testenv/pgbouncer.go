package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// pgbouncerSettings give each transaction one of a few connections, to any database.
const pgbouncerSettings = `[databases]
* = host=%[1]s user=%[2]s
[pgbouncer]
listen_addr =
unix_socket_dir = %[3]s
auth_type = any
pool_mode = transaction
max_client_conn = 500
default_pool_size = 10
server_idle_timeout = 1
server_round_robin = 1
`

// pooledPostgres is the pooler of the cluster that all tests of the binary share.
var pooledPostgres = sync.OnceValues(func() (*pgbouncer, error) {
	p, err := sharedPostgres()
	if err != nil {
		return nil, err
	}
	return startPgBouncer(p)
})

// PgBouncer returns the URL of the test's own empty database, as Postgres does, behind a PgBouncer in transaction mode: each transaction
// may use another connection. The test is skipped if PostgreSQL or PgBouncer is not installed.
func PgBouncer(t testing.TB) (address string) {
	t.Helper()
	direct := Postgres(t)
	b, err := pooledPostgres()
	if errors.Is(err, exec.ErrNotFound) {
		Missing(t, "PgBouncer", "scripts/test installs Debian's package pgbouncer.")
	}
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	return b.url(u.Path)
}

// A pgbouncer is a running PgBouncer that listens on a unix socket in its cluster's folder. It ends with the cluster.
type pgbouncer struct {
	dir   string
	stdin io.Closer // kept, since the program ends with it
}

func (b *pgbouncer) url(path string) string {
	u := url.URL{Scheme: "postgres", User: url.User(postgresUser), Path: path, RawQuery: url.Values{"host": {b.dir}, "port": {"6432"}}.Encode()}
	return u.String()
}

func startPgBouncer(p *PostgresCluster) (*pgbouncer, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // not on everybody's PATH
		if _, err := os.Stat(program); err != nil {
			return nil, fmt.Errorf("pgbouncer: %w", exec.ErrNotFound)
		}
	}
	b := &pgbouncer{dir: filepath.Join(p.dir, "pgbouncer")}
	if err := errors.Join(os.Mkdir(b.dir, 0o755), p.own(b.dir)); err != nil {
		return nil, err
	}
	settings := filepath.Join(b.dir, "pgbouncer.ini")
	if err := os.WriteFile(settings, fmt.Appendf(nil, pgbouncerSettings, p.dir, postgresUser, b.dir), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// It ends with its standard input, as the cluster does: with the test process, in any case.
	cmd := exec.Command("/bin/sh", "-c", `"$0" "$1" & cat >/dev/null; kill -INT $!; wait`, program, settings)
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = p.sys, b.dir, log, log
	if b.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start PgBouncer: %w", err)
	}
	return b, b.wait(log.Name())
}

// wait waits until it answers.
func (b *pgbouncer) wait(log string) error {
	ctx, cancel := context.WithTimeout(context.Background(), postgresWait)
	defer cancel()
	err := until(ctx, func() error {
		conn, err := pgx.Connect(ctx, b.url("/postgres"))
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
	if err != nil {
		out, _ := os.ReadFile(log)
		return fmt.Errorf("wait for PgBouncer: %w\n%s", err, out)
	}
	return nil
}
