package record_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tecken-upload/internal/record"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

func wantErr(t *testing.T, doing string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", doing, got, want)
	}
}

func TestUploadRoundTrip(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		tok := newToken(t, s)
		u := upload.Upload{
			User: tok.User, TokenID: tok.ID, TokenLabel: "windows 64", Bucket: "symbols",
			CreatedAt: time.UnixMicro(1_700_000_000_123_456).UTC(), DownloadURL: "https://a.example.com/x.zip",
		}
		if err := s.Begin(t.Context(), &u); err != nil {
			t.Fatal(err)
		}
		if u.ID != 1 {
			t.Errorf("the first upload's id is %d", u.ID)
		}
		wantUpload(t, s, u)

		u.Filename, u.Try, u.Format, u.Size = "symbole größe 符号.zip", true, "zip", 5_000_000_000
		u.EndedAt = time.UnixMicro(1_700_000_300_000_001).UTC()
		u.Outcome, u.Error = upload.TimedOut, "the upload's deadline passed: 1 of 3 stored"
		u.Phase, u.Progress = upload.PhasePublish, 0.625
		u.RedirectURLs = []string{"https://b.example.com/x.zip", "https://b.example.com/y.zip"}
		const id = "44E4EC8C2F41492B9369D6B9A059577C2"
		u.Files = []upload.File{
			{
				Name: "xul.pdb/44e4ec8c2f41492b9369d6b9a059577c2/xul.sym", Key: mustKey(t, "xul.pdb/"+id+"/xul.sym"),
				State: upload.FileUploaded, Size: 8 << 30, StoredSize: 1 << 30, MD5: upload.MD5{1, 2, 15: 3},
				Header: symbol.Header{
					OS: "windows", Arch: "x86_64", DebugID: id, DebugFile: "xul.pdb",
					CodeID: "5CF2591C6859000", CodeFile: "xul.dll", Generator: "dump_syms 2.3.4 (XYZ)",
				},
			},
			{Name: "x.so/0A/x.so.dbg.gz", Key: mustKey(t, "x.so/0A/x.so.dbg.gz"), State: upload.FileSkipped, MD5: upload.MD5{9}},
			{Name: "größe-符号-symbols.txt", State: upload.FileIgnored, Size: 12},
			{Name: "y.so/0B/y.so.sym", Key: mustKey(t, "y.so/0B/y.so.sym"), State: upload.FilePending},
		}
		if err := s.Finish(t.Context(), &u); err != nil {
			t.Fatal(err)
		}
		wantUpload(t, s, u)

		var counts [4]int
		err := raw(t, s).QueryRowContext(t.Context(), `SELECT uploaded_count, skipped_count, ignored_count, pending_count FROM uploads`).
			Scan(&counts[0], &counts[1], &counts[2], &counts[3])
		if err != nil || counts != [4]int{1, 1, 1, 1} {
			t.Errorf("counts are %v (%v)", counts, err)
		}
	})
}

func TestTimesComeFromTheClockWhereMissing(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6_000, time.UTC)
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{Now: func() time.Time { return now.In(time.FixedZone("", 3600)) }})
		u := upload.Upload{TokenID: newToken(t, s).ID, Outcome: upload.Completed}
		if err := errors.Join(s.Begin(t.Context(), &u), s.Finish(t.Context(), &u)); err != nil {
			t.Fatal(err)
		}
		got, err := s.Status(t.Context(), u.ID)
		if err != nil || got.CreatedAt != now || got.EndedAt != now {
			t.Errorf("got %v and %v (%v), want %v", got.CreatedAt, got.EndedAt, err, now)
		}
	})
}

func TestFinishManyFiles(t *testing.T) {
	const files = 10_000
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		u := begun(t, s, newToken(t, s))
		u.Outcome, u.EndedAt = upload.Completed, u.CreatedAt.Add(time.Minute)
		for i := range files {
			key := mustKey(t, fmt.Sprintf("lib%d.so/%X/lib.sym", i, i+1))
			u.Files = append(u.Files, upload.File{Name: key.String(), Key: key, State: upload.FileUploaded, Size: int64(i), MD5: upload.MD5{byte(i), 1}})
		}
		if err := s.Finish(t.Context(), &u); err != nil {
			t.Fatal(err)
		}
		wantUpload(t, s, u)
	})
}

// Any number of files up to a few statements' worth is written whole.
func TestFinishAnyNumberOfFiles(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		tok := newToken(t, s)
		for _, n := range []int{0, 1, 7, 8, 9, 63, 64, 65, 72, 73, 128, 145} {
			u := begun(t, s, tok)
			u.Outcome, u.EndedAt = upload.Completed, u.CreatedAt
			for i := range n {
				u.Files = append(u.Files, upload.File{Name: fmt.Sprint(i), State: upload.FileIgnored})
			}
			if err := s.Finish(t.Context(), &u); err != nil {
				t.Fatal(err)
			}
			wantUpload(t, s, u)
		}
	})
}

func TestFinishTwiceChangesNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		u := begun(t, s, newToken(t, s))
		u.Outcome, u.EndedAt = upload.Completed, u.CreatedAt.Add(time.Second)
		u.Files = []upload.File{{Name: ".DS_Store", State: upload.FileIgnored}}

		other := u
		other.Outcome, other.EndedAt, other.Error, other.Size = upload.Failed, u.EndedAt.Add(time.Hour), "late", 7
		other.Files = []upload.File{{Name: "a", State: upload.FileIgnored}, {Name: "b", State: upload.FileIgnored}}

		for _, v := range []upload.Upload{u, u, other} {
			if err := s.Finish(t.Context(), &v); err != nil {
				t.Fatal(err)
			}
			wantUpload(t, s, u)
		}
	})
}

// Many may end one upload at once: one of them does.
func TestFinishConcurrently(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		u := begun(t, s, newToken(t, s))
		u.Outcome, u.EndedAt = upload.Completed, u.CreatedAt
		u.Files = []upload.File{{Name: ".DS_Store", State: upload.FileIgnored}}
		var wg sync.WaitGroup
		for range 8 {
			v := u
			wg.Go(func() {
				if err := s.Finish(t.Context(), &v); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		wantUpload(t, s, u)
	})
}

func TestFinishIsAllOrNothing(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		u := begun(t, s, newToken(t, s))
		ended := u
		ended.Outcome, ended.EndedAt = upload.Completed, u.CreatedAt
		ended.Files = []upload.File{{Name: ".DS_Store", State: upload.FileIgnored}}

		exec(t, s, `ALTER TABLE files RENAME TO moved`)
		if err := s.Finish(t.Context(), &ended); err == nil || errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("Finish without a table for files: %v", err)
		}
		wantUpload(t, s, u)

		exec(t, s, `ALTER TABLE moved RENAME TO files`)
		if err := s.Finish(t.Context(), &ended); err != nil {
			t.Fatal(err)
		}
		wantUpload(t, s, ended)
	})
}

func TestWhatIsNotThere(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		u := begun(t, s, newToken(t, s))
		_, err := s.Status(t.Context(), u.ID+1)
		wantErr(t, "Upload", err, upload.ErrNotFound)
		wantErr(t, "Begin", s.Begin(t.Context(), &upload.Upload{TokenID: u.TokenID + 1}), upload.ErrNotFound)
		wantErr(t, "Finish", s.Finish(t.Context(), &upload.Upload{ID: u.ID + 1, Outcome: upload.Failed}), upload.ErrNotFound)
		if err := s.Finish(t.Context(), &u); err == nil {
			t.Error("finished without an outcome")
		}
		// After a restore ids are given out again.
		other := u
		other.CreatedAt, other.Outcome = u.CreatedAt.Add(time.Microsecond), upload.Failed
		wantErr(t, "Finish of another upload", s.Finish(t.Context(), &other), upload.ErrNotFound)
		wantUpload(t, s, u)
	})
}

func TestUploadOfADeadProcessHasNoEnd(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s, err := record.Open(t.Context(), url, record.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		u := begun(t, s, newToken(t, s))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		wantUpload(t, openMigrated(t, url, record.Options{}), u)
	})
}

func TestConcurrentBeginsHaveUniqueIDs(t *testing.T) {
	const n = 50
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{MaxConns: 4})
		tok := newToken(t, s)
		uploads := make([]upload.Upload, n)
		var wg sync.WaitGroup
		for i := range uploads {
			wg.Go(func() {
				uploads[i] = upload.Upload{TokenID: tok.ID}
				if err := s.Begin(t.Context(), &uploads[i]); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		ids := make([]int64, n)
		for i := range uploads {
			ids[i] = uploads[i].ID
		}
		slices.Sort(ids)
		if len(slices.Compact(ids)) != n || ids[0] != 1 {
			t.Errorf("ids %v", ids)
		}
	})
}

func TestTextThatDatabasesRefuse(t *testing.T) {
	long := strings.Repeat("ü", 3000)
	cases := []struct{ name, text, want string }{
		{"plain", "a name", "a name"},
		{"unicode", "größe 符号 🙂", "größe 符号 🙂"},
		{"NUL", "a\x00b", "a\ufffdb"},
		{"not UTF-8", "a\xff\xfeb", "a\ufffdb"},
		{"a surrogate", "\xed\xa0\x80", "\ufffd"},
		{"long", long, long[:4096]},
		{"cut within a rune", "a" + long, "a" + long[:4094]},
		{"quotes and controls", "'\"; DROP TABLE files;--\r\n\x1b", "'\"; DROP TABLE files;--\r\n\x1b"},
	}
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		tok := newToken(t, s)
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				u := begun(t, s, tok)
				u.Outcome, u.EndedAt = upload.Rejected, u.CreatedAt
				want := u
				u.Filename, u.Error, u.Files = c.text, c.text, []upload.File{{Name: c.text, State: upload.FileIgnored}}
				want.Filename, want.Error, want.Files = c.want, c.want, []upload.File{{Name: c.want, State: upload.FileIgnored}}
				if err := s.Finish(t.Context(), &u); err != nil {
					t.Fatal(err)
				}
				wantUpload(t, s, want)
			})
		}
	})
}

// Clients keep ids in 32 bits.
func TestUploadIDsEndBelow32Bits(t *testing.T) {
	restart := map[string]string{
		"SQLite":     `INSERT INTO sqlite_sequence (name, seq) VALUES ('uploads', 4294967294)`,
		"PgBouncer":  `ALTER TABLE uploads ALTER COLUMN id RESTART WITH 4294967295`,
		"PostgreSQL": `ALTER TABLE uploads ALTER COLUMN id RESTART WITH 4294967295`,
	}
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		tok := newToken(t, s)
		exec(t, s, restart[path.Base(t.Name())])
		if u := begun(t, s, tok); u.ID != 1<<32-1 {
			t.Errorf("id %d", u.ID)
		}
		if err := s.Begin(t.Context(), &upload.Upload{TokenID: tok.ID}); err == nil || errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("one upload too many: %v", err)
		}
	})
}

func TestContextsEnd(t *testing.T) {
	eachDatabase(t, func(t *testing.T, url string) {
		s := openMigrated(t, url, record.Options{})
		u := begun(t, s, newToken(t, s))
		u.Outcome = upload.Cancelled

		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(upload.ErrClientGone)
		err := s.Finish(ctx, &u)
		wantErr(t, "Finish", err, upload.ErrClientGone)
		if errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("the database is not to blame: %v", err)
		}

		past, cancelPast := context.WithDeadlineCause(t.Context(), time.Unix(1, 0), upload.ErrDeadline)
		defer cancelPast()
		err = s.Begin(past, &upload.Upload{TokenID: u.TokenID})
		wantErr(t, "Begin", err, upload.ErrDeadline)
		wantErr(t, "Begin", err, upload.ErrUnavailable)

		if err := s.Finish(t.Context(), &u); err != nil {
			t.Errorf("after others were cancelled: %v", err)
		}
	})
}
