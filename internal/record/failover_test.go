package record_test

import (
	"fmt"
	"testing"
	"time"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/record"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// demotions are ways in which a primary hands over to its standby.
var demotions = map[string]func(t *testing.T, p *testenv.PostgresCluster){
	"it turns read-only": func(t *testing.T, p *testenv.PostgresCluster) {
		if err := p.Demote(t.Context()); err != nil {
			t.Fatal(err)
		}
	},
	"it shuts down": func(t *testing.T, p *testenv.PostgresCluster) {
		if err := p.ShutDown(t.Context()); err != nil {
			t.Fatal(err)
		}
	},
}

// After a failover one address leads to another server. All connections to the old one are closed, even those that only read.
func TestFailoverBehindOneAddress(t *testing.T) {
	t.Parallel()
	for name, demote := range demotions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const conns = 3
			primary := testenv.NewPostgres(t)
			gate, address := testenv.PostgresGate(t, primary.Database(t))
			s := openMigrated(t, address, record.Options{MaxConns: conns})
			tok := newToken(t, s)
			before := begun(t, s, tok)
			standby := primary.Standby(t)
			lookups := openMigrated(t, address, record.Options{MaxConns: 1})
			lookUp := func() error {
				_, err := lookups.Spellings(t.Context(), catalogue.SpellingQuery{Key: mustKey(t, "a.so/AA/a.sym")})
				return err
			}
			if err := lookUp(); err != nil {
				t.Fatal(err)
			}

			demote(t, primary)
			if err := standby.Promote(t.Context()); err != nil {
				t.Fatal(err)
			}
			gate.Lead(standby.Socket())
			led := time.Now()
			eventually(t, time.Minute, func() error { return s.Begin(t.Context(), &upload.Upload{TokenID: tok.ID}) })
			before.Outcome, before.EndedAt = upload.Completed, before.CreatedAt
			if err := s.Finish(t.Context(), &before); err != nil {
				t.Error(err)
			}
			wantUpload(t, s, before)
			eventually(t, time.Minute, func() error {
				if err := lookUp(); err != nil {
					return err
				}
				if old, _ := gate.Open(primary.Socket()); old > 0 {
					return fmt.Errorf("%d connections to the old primary", old)
				}
				return nil
			})
			// One after the other they need a connection each, and one more for each that was closed.
			if made := gate.Between(led, time.Now()); made > 2*(conns+1) {
				t.Errorf("%d connections were made", made)
			}
			if n := column(t, s, `SELECT count(*) FROM uploads`)[0]; n != "2" {
				t.Errorf("%s uploads, want 2", n)
			}
		})
	}
}

// While no server takes writes, reads work, and connections are made at most once a second.
func TestADatabaseThatStaysReadOnly(t *testing.T) {
	t.Parallel()
	primary := testenv.NewPostgres(t)
	gate, address := testenv.PostgresGate(t, primary.Database(t))
	s := openMigrated(t, address, record.Options{MaxConns: 2})
	tok := newToken(t, s)
	u := begun(t, s, tok)
	if err := primary.Demote(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 2 {
		wantErr(t, "Begin", s.Begin(t.Context(), &upload.Upload{TokenID: tok.ID}), upload.ErrUnavailable)
		wantUpload(t, s, u)
	}
	ended := time.Now()
	if made, most := gate.Between(began, ended), 2*(2+int(ended.Sub(began)/time.Second)); made > most {
		t.Errorf("%d connections were made in %v, want %d at the most", made, ended.Sub(began), most)
	}
}

// Several hosts are tried for one that takes writes.
func TestHostsAreTriedForThePrimary(t *testing.T) {
	t.Parallel()
	primary := testenv.NewPostgres(t)
	address := primary.Database(t)
	s := openMigrated(t, address, record.Options{})
	tok := newToken(t, s)
	standby := primary.Standby(t)
	for _, attrs := range []string{"read-write", "primary"} {
		several := openMigrated(t, standby.Same(t, address, primary)+"&target_session_attrs="+attrs, record.Options{})
		begun(t, several, tok)
	}
}
