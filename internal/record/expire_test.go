package record_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/record"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

const day = 24 * time.Hour

var (
	expiryNow = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	retention = record.Retention{Regular: 100 * day, Try: 10 * day, InFlight: 36 * time.Hour, Interval: time.Hour}
)

func atExpiry() record.Options { return record.Options{Now: func() time.Time { return expiryNow }} }

// uploaded records an upload of that age; one without an end has no files yet.
func uploaded(t *testing.T, s *record.Store, tok upload.Token, age time.Duration, try, ended bool, files int) int64 {
	t.Helper()
	u := upload.Upload{TokenID: tok.ID, CreatedAt: expiryNow.Add(-age), Try: try, Size: 1}
	if err := s.Begin(t.Context(), &u); err != nil {
		t.Fatal(err)
	}
	if ended {
		finishWith(t, s, &u, files)
	}
	return u.ID
}

func finishWith(t *testing.T, s *record.Store, u *upload.Upload, files int) {
	t.Helper()
	u.Outcome, u.EndedAt = upload.Completed, u.CreatedAt.Add(time.Minute)
	for i := range files {
		key := mustKey(t, fmt.Sprintf("lib.so/%X/lib.sym", i+1))
		u.Files = append(u.Files, upload.File{Name: key.String(), Key: key, State: upload.FileUploaded})
	}
	if err := s.Finish(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsExpire(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, atExpiry())
		tok := newToken(t, s)
		const regular, try = 102 * day, 12 * day // two days more than symbols
		kept := []int64{
			uploaded(t, s, tok, regular, false, true, 1), uploaded(t, s, tok, try, true, true, 1),
			uploaded(t, s, tok, 0, true, true, 0), uploaded(t, s, tok, try+time.Second, false, true, 2), uploaded(t, s, tok, -time.Hour, true, true, 1),
			uploaded(t, s, tok, try, true, false, 0), uploaded(t, s, tok, regular, false, false, 0),
		}
		for _, age := range []time.Duration{time.Second, day, 1000 * day} {
			for _, ended := range []bool{true, false} {
				uploaded(t, s, tok, regular+age, false, ended, 3)
				uploaded(t, s, tok, try+age, true, ended, 3)
			}
		}
		gone, err := s.Expire(t.Context(), retention)
		if want := (record.Expired{Uploads: 12, Files: 18}); err != nil || gone != want {
			t.Errorf("gone: %+v (%v), want %+v", gone, err, want)
		}
		left := column(t, s, `SELECT id FROM uploads ORDER BY id`)
		want := []string{}
		for _, id := range kept {
			want = append(want, fmt.Sprint(id))
		}
		if diff := cmp.Diff(want, left); diff != "" {
			t.Errorf("left (-want +got)\n%s", diff)
		}
		if files := column(t, s, `SELECT count(*) FROM files`); files[0] != "5" {
			t.Errorf("%s files are left", files[0])
		}
		if tokens, err := s.Tokens(t.Context()); err != nil || len(tokens) != 1 {
			t.Errorf("tokens: %v (%v)", tokens, err)
		}
		if days := column(t, s, `SELECT count(*) FROM upload_days WHERE day < 20000`); days[0] != "0" {
			t.Errorf("%s old tallies are left", days[0])
		}
		if gone, err := s.Expire(t.Context(), retention); err != nil || gone != (record.Expired{}) {
			t.Errorf("once more: %+v (%v)", gone, err)
		}
	})
}

// Very long retentions do not overflow.
func TestRecordsThatAreKeptForEver(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, atExpiry())
		tok := newToken(t, s)
		for _, ended := range []bool{true, false} {
			uploaded(t, s, tok, 1000*day, false, ended, 1)
			uploaded(t, s, tok, 1000*day, true, ended, 1)
		}
		for _, long := range []time.Duration{math.MaxInt64, math.MaxInt64 - 36*time.Hour, math.MaxInt64 - 48*time.Hour} {
			for _, r := range []record.Retention{{Regular: long, Try: long}, {InFlight: long, Regular: long, Try: long}} {
				if gone, err := s.Expire(t.Context(), r); err != nil || gone != (record.Expired{}) {
					t.Errorf("%+v: %+v (%v)", r, gone, err)
				}
			}
		}
		if gone, err := s.Expire(t.Context(), record.Retention{InFlight: math.MaxInt64}); err != nil || gone != (record.Expired{Uploads: 2, Files: 2}) {
			t.Errorf("in flight for ever: %+v (%v)", gone, err)
		}
	})
}

// A clock far from the database's expires nothing, and is reported.
func TestNothingExpiresByAWrongClock(t *testing.T) {
	url := testenv.Postgres(t)
	tok := newToken(t, openMigrated(t, url, record.Options{}))
	for _, x := range []struct {
		off  time.Duration
		want int
	}{{1000 * day, 0}, {61 * time.Minute, 0}, {-61 * time.Minute, 0}, {50 * time.Minute, 1}, {0, 1}} {
		s := open(t, url, record.Options{Now: func() time.Time { return time.Now().Add(x.off) }})
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		u := upload.Upload{TokenID: tok.ID, CreatedAt: time.Now().Add(-200 * day)}
		if err := s.Begin(t.Context(), &u); err != nil {
			t.Fatal(err)
		}
		finishWith(t, s, &u, 1)
		gone, err := s.Expire(t.Context(), record.Retention{Regular: 100 * day, Try: 100 * day})
		if (err == nil) != (x.want > 0) || errors.Is(err, upload.ErrUnavailable) || gone.Uploads < x.want || x.want == 0 && gone != (record.Expired{}) {
			t.Errorf("%v ahead: %+v, %v", x.off, gone, err)
		}
	}
}

// An upload in flight is not touched by any retention, and can end.
func TestUploadsInFlightDoNotExpire(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, atExpiry())
		tok := newToken(t, s)
		u := upload.Upload{TokenID: tok.ID, CreatedAt: expiryNow.Add(-3 * day)}
		if err := s.Begin(t.Context(), &u); err != nil {
			t.Fatal(err)
		}
		short := record.Retention{Regular: time.Nanosecond, Try: time.Nanosecond, InFlight: 4 * day}
		if gone, err := s.Expire(t.Context(), short); err != nil || gone != (record.Expired{}) {
			t.Errorf("in flight: %+v (%v)", gone, err)
		}
		finishWith(t, s, &u, 2)
		if gone, err := s.Expire(t.Context(), short); err != nil || gone != (record.Expired{Uploads: 1, Files: 2}) {
			t.Errorf("ended: %+v (%v)", gone, err)
		}
		if err := s.Finish(t.Context(), &u); !errors.Is(err, upload.ErrNotFound) {
			t.Errorf("its end once more: %v", err)
		}
	})
}

// Several instances share the work while uploads come in.
func TestInstancesExpireTogether(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		const old, each = 130, 30 // several batches
		stores := []*record.Store{openMigrated(t, url, atExpiry()), openMigrated(t, url, atExpiry()), openMigrated(t, url, atExpiry())}
		tok := newToken(t, stores[0])
		for range old {
			uploaded(t, stores[0], tok, 200*day, false, true, each)
		}
		uploaded(t, stores[0], tok, 200*day, false, true, 2500) // more than a batch has
		gone := make([]record.Expired, len(stores))
		var wg sync.WaitGroup
		for i, s := range stores {
			wg.Go(func() {
				var err error
				if gone[i], err = s.Expire(t.Context(), retention); err != nil {
					t.Error(err)
				}
			})
		}
		for range 20 {
			uploaded(t, stores[0], tok, time.Hour, false, true, 5)
		}
		wg.Wait()
		sum := record.Expired{}
		for _, g := range gone {
			sum.Uploads += g.Uploads
			sum.Files += g.Files
		}
		if want := (record.Expired{Uploads: old + 1, Files: old*each + 2500}); sum != want {
			t.Errorf("gone: %+v, want %+v in all", gone, want)
		}
		if left := column(t, stores[0], `SELECT count(*) FROM files`); !slices.Equal(left, []string{"100"}) {
			t.Errorf("%v files are left", left)
		}
	})
}

func TestRetentionRunsUntilItIsStopped(t *testing.T) {
	s := openMigrated(t, sqliteURL(t), atExpiry())
	tok := newToken(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	r := retention
	r.Interval, r.InFlight = 10*time.Millisecond, 1000*day // else a pass may come before an upload's end
	go func() { done <- s.RunRetention(ctx, r) }()
	for range 2 {
		id := uploaded(t, s, tok, 200*day, false, true, 1)
		eventually(t, 30*time.Second, func() error {
			if _, err := s.UploadRecord(t.Context(), id); !errors.Is(err, upload.ErrNotFound) {
				return fmt.Errorf("upload %d is still there (%w)", id, err)
			}
			return nil
		})
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A fault is reported, an outage is not, and neither ends the passes.
func TestRetentionTellsOfFaults(t *testing.T) {
	s := openMigrated(t, sqliteURL(t), atExpiry())
	exec(t, s, `ALTER TABLE upload_days RENAME TO elsewhere`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	faults, done := make(chan error), make(chan error, 1)
	r := retention
	r.Interval = time.Millisecond
	r.Fault = func(err error) {
		select {
		case faults <- err:
		case <-ctx.Done():
		}
	}
	go func() { done <- s.RunRetention(ctx, r) }()
	for range 2 {
		if err := <-faults; err == nil || errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("told of %v", err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
