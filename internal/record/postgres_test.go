package record_test

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tecken-upload/internal/record"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

func stop(t *testing.T, p *testenv.PostgresCluster) {
	t.Helper()
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, p *testenv.PostgresCluster) {
	t.Helper()
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresDownAtStart(t *testing.T) {
	t.Parallel()
	p := testenv.NewPostgres(t)
	url := p.Database(t)
	stop(t, p)
	s := open(t, url, record.Options{})

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	wantErr(t, "Migrate", s.Migrate(ctx), upload.ErrUnavailable)
	wantErr(t, "Run", s.Run(ctx, noFault(t)), context.DeadlineExceeded)

	ran := make(chan error, 1)
	go func() { ran <- s.Run(t.Context(), noFault(t)) }()
	wantUnavailable(t, s)
	start(t, p)
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPostgresStopsAndReturns(t *testing.T) {
	t.Parallel()
	p := testenv.NewPostgres(t)
	s := openMigrated(t, p.Database(t), record.Options{MaxConns: 3})
	tok := newToken(t, s)
	before := begun(t, s, tok)
	stop(t, p)

	// Many at once, as under load: each gets its error in time.
	const limit = time.Second
	began := time.Now()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			wantErr(t, "Begin", s.Begin(ctx, &upload.Upload{TokenID: tok.ID}), upload.ErrUnavailable)
			wantErr(t, "Check", s.Check(ctx), upload.ErrUnavailable)
		})
	}
	wg.Wait()
	if elapsed := time.Since(began); elapsed > limit+testenv.Slack(t, 2*time.Second) {
		t.Errorf("it took %v to say so", elapsed)
	}
	// Without a deadline it comes soon, too.
	began = time.Now()
	wantErr(t, "Check", s.Check(t.Context()), upload.ErrUnavailable)
	if elapsed := time.Since(began); elapsed > testenv.Slack(t, 5*time.Second) {
		t.Errorf("it took %v to say so", elapsed)
	}

	start(t, p)
	eventually(t, testenv.Patience, func() error { return s.Check(t.Context()) })
	wantUpload(t, s, before)
	if after := begun(t, s, tok); after.ID <= before.ID {
		t.Errorf("ids %d, then %d", before.ID, after.ID)
	}
}

// An upload at its end does not fail because the database restarts.
func TestFinishOutlastsARestart(t *testing.T) {
	t.Parallel()
	p := testenv.NewPostgres(t)
	s := openMigrated(t, p.Database(t), record.Options{})
	s.SetFinishPatience(testenv.Patience)
	u := begun(t, s, newToken(t, s))
	u.Outcome, u.EndedAt = upload.Completed, u.CreatedAt
	u.Files = []upload.File{{Name: ".DS_Store", State: upload.FileIgnored}}
	stop(t, p)
	finished := make(chan error, 1)
	go func() { finished <- s.Finish(t.Context(), &u) }()
	start(t, p)
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
	wantUpload(t, s, u)
}

// A server that accepts connections and answers nothing is the worst outage.
func TestPostgresHangs(t *testing.T) {
	t.Parallel()
	p := testenv.NewPostgres(t)
	s := openMigrated(t, p.Database(t), record.Options{MaxConns: 2})
	tok := newToken(t, s)
	// Its connections are gone, and new ones hang.
	exec(t, s, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, upload.ErrDeadline)
	defer cancel()
	err := s.Begin(ctx, &upload.Upload{TokenID: tok.ID})
	wantErr(t, "Begin", err, upload.ErrUnavailable)
	wantErr(t, "Begin", err, upload.ErrDeadline)
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, testenv.Patience, func() error { return s.Check(t.Context()) })
}

// Work queues for connections; cancelled calls never make more of them than allowed.
func TestPoolIsBounded(t *testing.T) {
	const conns, workers = 3, 40
	address := testenv.Postgres(t)
	s := openMigrated(t, address, record.Options{MaxConns: conns})
	watcher := openMigrated(t, address, record.Options{MaxConns: 1})
	tok := newToken(t, s)
	name := "application_name = 'watched'"
	watched := openMigrated(t, address+"&application_name=watched", record.Options{MaxConns: conns})

	var most atomic.Int64
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			n, err := strconv.ParseInt(column(t, watcher, `SELECT count(*) FROM pg_stat_activity WHERE `+name)[0], 10, 64)
			if err != nil {
				t.Error(err)
			}
			most.Store(max(most.Load(), n))
		}
	})
	var working sync.WaitGroup
	var cancelled atomic.Int64
	for i := range workers {
		working.Go(func() {
			for j := range 20 {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if (i+j)%3 == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(j)*time.Millisecond)
				}
				err := watched.Begin(ctx, &upload.Upload{TokenID: tok.ID})
				if ctx.Err() == nil && err != nil {
					t.Error(err)
				}
				if err != nil {
					cancelled.Add(1)
				}
				cancel()
			}
		})
	}
	working.Wait()
	close(done)
	watching.Wait()
	t.Logf("at most %d connections, %d of %d calls cancelled", most.Load(), cancelled.Load(), workers*20)
	if n := most.Load(); n < 1 || n > conns {
		t.Errorf("%d connections at once, want 1 to %d", n, conns)
	}
}

// newRole makes a role with rights to all tables, until the end of the test.
func newRole(t *testing.T, admin *record.Store, options string) string {
	t.Helper()
	role := strings.ReplaceAll(t.Name(), "/", "_")
	exec(t, admin, `CREATE ROLE "`+role+`" LOGIN `+options)
	t.Cleanup(func() {
		for _, statement := range []string{`DROP OWNED BY "` + role + `"`, `DROP ROLE "` + role + `"`} {
			if _, err := raw(t, admin).ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
				t.Error(err)
			}
		}
	})
	exec(t, admin, `GRANT ALL ON ALL TABLES IN SCHEMA public TO "`+role+`"`)
	return role
}

// asRole returns a database's URL for a role.
func asRole(t *testing.T, address, role string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return u.String()
}

// A server that allows fewer connections than we may make gets no storm: work queues for them.
func TestServerWithTooFewConnections(t *testing.T) {
	address := testenv.Postgres(t)
	admin := openMigrated(t, address, record.Options{})
	tok := newToken(t, admin)
	role := newRole(t, admin, "CONNECTION LIMIT 2")
	s := openMigrated(t, asRole(t, address, role), record.Options{MaxConns: 10})
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for range 5 {
				if err := s.Begin(t.Context(), &upload.Upload{TokenID: tok.ID}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := column(t, admin, `SELECT count(*) FROM uploads`)[0]; n != "200" {
		t.Errorf("%s uploads, want 200", n)
	}
	// Clean-up needs the sessions to be gone.
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, testenv.Patience, func() error {
		if n := column(t, admin, `SELECT count(*) FROM pg_stat_activity WHERE usename = '`+role+`'`)[0]; n != "0" {
			return fmt.Errorf("%s sessions", n)
		}
		return nil
	})
}

// A database's errors go to logs, without its password.
func TestPasswordStaysOutOfErrors(t *testing.T) {
	const secret = "s3cr3t"
	for _, address := range []string{
		"postgres://user:" + secret + "@localhost:notaport/db",
		"postgres://user:" + secret + "@localhost/db?sslmode=perhaps",
		"mysql://user:" + secret + "@localhost/db",
	} {
		if _, err := record.Open(t.Context(), address, record.Options{}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", address, err)
		}
	}
	s := open(t, "postgres://user:"+secret+"@127.0.0.1:1/db", record.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Migrate(ctx); err == nil || strings.Contains(err.Error(), secret) {
		t.Error(err)
	}
}
