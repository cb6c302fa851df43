package record_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"tecken-upload/internal/record"
	"tecken-upload/internal/upload"
)

// What is staged is abandoned once its upload has ended, is lost or is gone.
func TestStaged(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		now := time.Now()
		setClock(s, now)
		tok := newToken(t, s)
		ended, gone, lost, forgotten := begun(t, s, tok), begun(t, s, tok), begun(t, s, tok), begun(t, s, tok)
		setClock(s, now.Add(time.Hour))
		flying := begun(t, s, tok)
		for _, u := range []upload.Upload{ended, gone, flying, lost, forgotten} {
			for _, id := range []string{"one", "two"} {
				if err := s.Staged(t.Context(), u.ID, id); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.Unstaged(t.Context(), forgotten.ID); err != nil {
			t.Fatal(err)
		}
		ended.Outcome = upload.Completed
		if err := s.Finish(t.Context(), &ended); err != nil {
			t.Fatal(err)
		}
		exec(t, s, `DELETE FROM uploads WHERE id = $1`, gone.ID)
		ids, err := s.Abandoned(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		want := []int64{ended.ID, gone.ID, lost.ID}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(ids)); !slices.Equal(got, want) {
			t.Errorf("abandoned of %v, want %v", got, want)
		}
		for id, list := range ids {
			if slices.Sort(list); !slices.Equal(list, []string{"one", "two"}) {
				t.Errorf("%d: %v", id, list)
			}
		}
	})
}
