package record

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/record/database"
	"tecken-upload/internal/upload"
)

// Expired records are removed slowly, since nothing waits for it.
const (
	// expiryGrace is how much longer than its symbols a record is kept. An upload's record begins with its body, its symbols are stored up
	// to an hour later, and S3 removes expired objects at the end of a day or later.
	expiryGrace = 48 * time.Hour
	// expireUploads and expireFiles bound a transaction; one upload goes whole.
	expireUploads = 50
	expireFiles   = 2000
	// expirePause is the least pause after a transaction. The pause is also at least expireRest times the transaction's time, so that
	// uploads hardly notice.
	expirePause = 250 * time.Millisecond
	expireRest  = 4
	// clockSlack is the largest difference between this machine's clock and the database's: far more than clocks differ, and far less than
	// records are kept.
	clockSlack = time.Hour
	// dayMicros is the length of a day in microseconds. Tallies are kept by the number of days since 1970.
	dayMicros = 24 * 60 * 60 * 1_000_000
	// daysKept is the number of days with tallies.
	daysKept = 400
)

// A Retention is how long records are kept.
type Retention struct {
	Regular, Try time.Duration // of symbols; their records are kept two days longer
	// InFlight is the longest time of an upload. Younger records without an end are kept in any case.
	InFlight time.Duration
	// Interval is the time between two passes, within a random quarter.
	Interval time.Duration
	// Fault is called when a pass fails for another reason than an unavailable database. May be nil.
	Fault func(error)
}

// Expired counts the records removed by a pass.
type Expired struct {
	Uploads, Files int
}

// RunRetention removes expired records, in regular passes until ctx ends, and returns nil. Any number of instances may share a database:
// each skips records that another is removing.
func (s *Store) RunRetention(ctx context.Context, r Retention) error {
	// Soon after the start, since an instance may be restarted every day.
	wait := r.Interval/12 + rand.N(r.Interval/12+1)
	for background.Sleep(ctx, wait) == nil {
		s.pass(ctx, r)
		wait = r.Interval*3/4 + rand.N(r.Interval/2+1)
	}
	return nil
}

// pass runs one pass, and reports its result.
func (s *Store) pass(ctx context.Context, r Retention) {
	start := time.Now()
	gone, err := s.Expire(ctx, r)
	if gone != (Expired{}) {
		s.log.InfoContext(ctx, "records expired", "uploads", gone.Uploads, "files", gone.Files, "elapsed", time.Since(start))
	}
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, upload.ErrUnavailable):
		s.log.WarnContext(ctx, "records were not expired", "err", err)
	case r.Fault != nil:
		r.Fault(err)
	}
}

// Expire removes the records of uploads, with their files, that began longer ago than r allows. It removes a few at a time with pauses; if
// interrupted, the next call continues. Users and tokens stay. It removes nothing and fails if the clocks of this machine and the database
// differ by more than an hour.
func (s *Store) Expire(ctx context.Context, r Retention) (gone Expired, err error) {
	now := s.now()
	if err := s.compareClocks(ctx, now); err != nil {
		return gone, err
	}
	running := now.Add(-r.InFlight)
	for _, kind := range []struct {
		is   string
		kept time.Duration
	}{{"try", r.Try}, {"NOT try", r.Regular}} {
		before := now.Add(-kind.kept).Add(-expiryGrace) // the sum may overflow a Duration
		query := `
			SELECT id, uploaded_count + skipped_count + ignored_count + pending_count FROM uploads
			WHERE ` + kind.is + ` AND created_at < $1 AND (ended_at IS NOT NULL OR created_at < $2)
			ORDER BY created_at LIMIT ` + strconv.Itoa(expireUploads)
		if err := s.expireAll(ctx, query, before, running, &gone); err != nil {
			return gone, err
		}
	}
	return gone, s.Change(ctx, writeTimeout, "expire tallies", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM upload_days WHERE day < $1`, now.UnixMicro()/dayMicros-daysKept)
		return err
	})
}

// compareClocks fails if the database's clock differs too much from now: one instance with a wrong clock would remove all instances'
// records.
func (s *Store) compareClocks(ctx context.Context, now time.Time) error {
	return s.Read(ctx, "compare clocks", func(ctx context.Context, conn database.Conn) error {
		var theirs time.Time
		if err := conn.QueryRowContext(ctx, `SELECT `+s.Clock).Scan((*database.Time)(&theirs)); err != nil {
			return err
		}
		if apart := now.Sub(theirs); apart.Abs() > clockSlack {
			return fmt.Errorf("this machine's clock is %v ahead of the database's", apart.Round(time.Second))
		}
		return nil
	})
}

// expireAll removes all uploads that query selects.
func (s *Store) expireAll(ctx context.Context, query string, before, running time.Time, gone *Expired) error {
	for {
		start := time.Now()
		var batch Expired
		err := s.Change(ctx, finishTimeout, "expire records", func(ctx context.Context, tx *sql.Tx) (err error) {
			batch, err = s.expireSome(ctx, tx, query, before, running)
			return err
		})
		if err != nil || batch.Uploads == 0 {
			return err
		}
		gone.Uploads += batch.Uploads
		gone.Files += batch.Files
		if err := background.Sleep(ctx, max(expirePause, expireRest*time.Since(start))); err != nil {
			return fmt.Errorf("expire records: %w", err)
		}
	}
}

// expireSome removes the first uploads that query selects, with their files.
func (s *Store) expireSome(ctx context.Context, tx *sql.Tx, query string, before, running time.Time) (batch Expired, err error) {
	var ids []string
	full := false
	err = s.claim(ctx, tx, query, []any{database.Time(before), database.Time(running)}, func(rows *sql.Rows) error {
		var id int64
		var files int
		err := rows.Scan(&id, &files)
		if full = full || len(ids) > 0 && batch.Files+files > expireFiles; !full {
			ids = append(ids, strconv.FormatInt(id, 10))
			batch.Files += files
		}
		return err
	})
	if err != nil || len(ids) == 0 {
		return Expired{}, err
	}
	batch.Uploads = len(ids)
	//nolint:gosec // the ids come from the database
	_, err = tx.ExecContext(ctx, `DELETE FROM uploads WHERE id IN (`+strings.Join(ids, ", ")+`)`)
	return batch, err
}
