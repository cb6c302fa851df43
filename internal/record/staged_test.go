package record_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/record"
	"tecken-upload/internal/upload"
)

// What a living upload has staged is left alone; what others have is listed until it is forgotten.
func TestStaged(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		s := openMigrated(t, url, record.Options{Stale: time.Minute, Now: func() time.Time { return now }})
		unlosing := openMigrated(t, url, record.Options{})
		at := func(d time.Duration) {
			setClock(s, now.Add(d))
			setClock(unlosing, now.Add(d))
		}
		at(0)
		tok := newToken(t, s)
		living, ended, expired := begun(t, s, tok), begun(t, s, tok), begun(t, s, tok)
		for i, u := range []upload.Upload{living, ended, expired} {
			for j := range 2 {
				for range 2 { // the first answer may have been lost
					if err := s.NoteStaged(t.Context(), u.ID, fmt.Sprintf("%d größe %d", j, i)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		want := func(s *record.Store, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, abandoned(t, s)); diff != "" {
				t.Errorf("abandoned (-want +got):\n%s", diff)
			}
		}
		want(s)
		exec(t, s, fmt.Sprintf(`DELETE FROM uploads WHERE id = %d`, expired.ID))
		want(s, "0 größe 2", "1 größe 2")
		ended.Outcome = upload.Failed
		if err := s.Finish(t.Context(), &ended); err != nil {
			t.Fatal(err)
		}
		want(s, "0 größe 1", "0 größe 2", "1 größe 1", "1 größe 2")

		at(time.Minute)
		want(s, "0 größe 1", "0 größe 2", "1 größe 1", "1 größe 2")
		at(time.Minute + time.Microsecond)
		all := []string{"0 größe 0", "0 größe 1", "0 größe 2", "1 größe 0", "1 größe 1", "1 größe 2"}
		want(s, all...)
		want(unlosing, "0 größe 1", "0 größe 2", "1 größe 1", "1 größe 2")

		if err := s.ForgetStaged(t.Context(), []string{"0 größe 1", "1 größe 2", "unknown"}); err != nil {
			t.Fatal(err)
		}
		want(s, "0 größe 0", "0 größe 2", "1 größe 0", "1 größe 1")
		if err := s.ForgetStaged(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		want(s)
		if err := s.ForgetStaged(t.Context(), nil); err != nil {
			t.Errorf("forget none: %v", err)
		}
	})
}

// abandoned lists all abandoned ids, a few at a time.
func abandoned(t *testing.T, s *record.Store) (all []string) {
	t.Helper()
	for after := ""; ; {
		ids, err := s.AbandonedStaged(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) == 0 {
			return all
		}
		all = append(all, ids...)
		after = ids[len(ids)-1]
	}
}

// Many ids take several statements.
func TestManyStaged(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		var ids []string
		for i := range 150 {
			ids = append(ids, fmt.Sprintf("%03d", i))
			if err := s.NoteStaged(t.Context(), 1, ids[i]); err != nil {
				t.Fatal(err)
			}
		}
		if got := abandoned(t, s); !slices.Equal(got, ids) {
			t.Errorf("abandoned are %q", got)
		}
		if err := s.ForgetStaged(t.Context(), ids[1:]); err != nil {
			t.Fatal(err)
		}
		if got := abandoned(t, s); !slices.Equal(got, ids[:1]) {
			t.Errorf("left are %q; want the first", got)
		}
	})
}

func TestStagedWithoutADatabase(t *testing.T) {
	s, err := record.Open(t.Context(), sqliteURL(t), record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, listErr := s.AbandonedStaged(t.Context(), "", 1)
	for doing, err := range map[string]error{
		"note": s.NoteStaged(t.Context(), 1, "id"), "forget": s.ForgetStaged(t.Context(), []string{"id"}), "list": listErr,
	} {
		if !errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("%s: %v; want ErrUnavailable", doing, err)
		}
	}
}
