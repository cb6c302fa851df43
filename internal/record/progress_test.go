package record_test

import (
	"errors"
	"testing"
	"time"

	"tecken-upload/internal/record"
	"tecken-upload/internal/upload"
)

// An upload in flight shows how far it is, through any instance that has its database; once its process has been silent for as long as
// Stale, by the database's clock alone, it is lost. Its record stays as it is.
func TestProgress(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		s := openMigrated(t, url, record.Options{})
		other := openMigrated(t, url, record.Options{Stale: time.Minute, Now: func() time.Time { return now }})
		at := func(d time.Duration) {
			setClock(s, now.Add(d))
			setClock(other, now.Add(d))
		}
		at(0)
		tok := newToken(t, s)
		var all []upload.Upload
		for range 70 { // more than one statement has
			all = append(all, begun(t, s, tok))
		}
		want := all[69]
		show := func(doing string, want upload.Upload) {
			t.Helper()
			t.Log(doing)
			wantUpload(t, other, want)
		}
		show("just begun", want)
		at(time.Minute)
		show("silent for a minute", want)
		at(time.Minute + time.Microsecond)
		lost := want
		lost.Lose()
		show("silent for longer", lost)

		for i := range all {
			all[i].Phase, all[i].Progress, all[i].Filename, all[i].Format, all[i].Size, all[i].Try = upload.PhaseVerify, 0.375, "größe.zip", "zip", 5<<30, true
		}
		at(time.Hour)
		if err := s.Progress(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		show("seen after an hour", all[69])
		show("another one", all[0])
		at(time.Hour + time.Minute)
		show("a minute later", all[69])
		at(2 * time.Hour)
		lost = all[69]
		lost.Lose()
		show("an hour later", lost)
		if u, err := other.UploadRecord(t.Context(), lost.ID); err != nil || u.Outcome != "" {
			t.Errorf("the record of a lost upload has the outcome %q: %v", u.Outcome, err)
		}

		// An older version records no sign of life.
		all[66].CreatedAt = now
		exec(t, s, `UPDATE uploads SET seen_at = NULL, created_at = $2 WHERE id = $1`, all[66].ID, now.UnixMicro())
		at(time.Hour + time.Minute)
		show("of an older version", all[66])
		at(time.Hour + time.Minute + time.Microsecond)
		old := all[66]
		old.Lose()
		show("of an older version that takes too long", old)

		// One that has ended, one of another time that has its id, and one that is gone, are left alone.
		ended, gone, restored := all[69], all[68], all[67]
		ended.Outcome, ended.Error, ended.Phase, ended.Progress = upload.Rejected, "no", upload.PhaseVerify, 0.25
		if err := s.Finish(t.Context(), &ended); err != nil {
			t.Fatal(err)
		}
		exec(t, s, `DELETE FROM uploads WHERE id = $1`, gone.ID)
		late := ended
		late.Phase, late.Progress = upload.PhaseRecord, 1
		another := restored
		another.CreatedAt, another.Filename = another.CreatedAt.Add(time.Second), "another.zip"
		if err := s.Progress(t.Context(), []upload.Upload{gone, late, another}); err != nil {
			t.Fatal(err)
		}
		ended.EndedAt = ended.EndedAt.Truncate(time.Microsecond)
		show("ended", ended)
		restored.Lose()
		show("of another time", restored)
		if _, err := other.Status(t.Context(), gone.ID); !errors.Is(err, upload.ErrNotFound) {
			t.Errorf("gone: %v", err)
		}
	})
}
