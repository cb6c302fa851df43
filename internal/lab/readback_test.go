package lab_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

func TestMain(m *testing.M) { os.Exit(lab.Run(m)) }

// open opens a site for faults, with its server.
func open(t *testing.T, c lab.Config) *lab.Site {
	t.Helper()
	c.ForFaults = true
	s := lab.Open(t, c)
	s.StartServer()
	return s
}

// post uploads an archive, which must be answered with that status.
func post(t *testing.T, s *lab.Site, u lab.Upload, status int) lab.Attempt {
	t.Helper()
	u.Token = s.Token("ci@example.com")
	a := lab.Attempt{Upload: u, Answer: s.Instance().Post(t.Context(), u), Begun: s.Server.Life(), Over: s.Server.Life()}
	if a.Status != status {
		t.Fatalf("answered %d %s (%v)", a.Status, a.Error, a.Lost)
	}
	if err := a.Contradiction(u); err != nil {
		t.Fatal(err)
	}
	return a
}

func archive(t *testing.T, seed, version uint64) *lab.Archive {
	t.Helper()
	a, err := lab.NewArchive(testarchive.Spec{Seed: seed, Version: version, Bytes: 100_000, Members: 6, Mix: testarchive.OnlySym, Store: true, Listing: true})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// On every kind of site what was accepted is found, and nothing wrong.
func TestReadBack(t *testing.T) {
	for _, c := range []lab.Config{
		{Storage: lab.Directory, Database: lab.SQLite},
		{Storage: lab.Versitygw, Database: lab.PostgreSQL, Redis: true},
		{Storage: lab.MinIO, Database: lab.SQLite},
	} {
		t.Run(fmt.Sprintf("%s, %s", c.Storage, c.Database), func(t *testing.T) {
			s := open(t, c)
			s.StartJanitor()
			broken := archive(t, 9, 0)
			broken.Break()
			all := []lab.Attempt{
				post(t, s, lab.Upload{Label: "a", Archive: archive(t, 1, 1)}, http.StatusCreated),
				post(t, s, lab.Upload{Label: "b", Archive: archive(t, 1, 2), Chunked: true, Expect: true}, http.StatusCreated),
				post(t, s, lab.Upload{Label: "c", Archive: broken}, http.StatusBadRequest),
				post(t, s, lab.Upload{Label: "d", Archive: archive(t, 2, 0), Ending: lab.Resets, Share: 0.5}, 0),
			}
			if err := errors.Join(lab.Await(t.Context(), s.Instance().Healthy), lab.Await(t.Context(), s.Instance().AtRest)); err != nil {
				t.Error(err)
			}
			stop(t, s)
			v, err := s.ReadBack(t.Context(), all)
			if err != nil || len(v.Wrong) > 0 || v.Accepted != 2 || v.Objects != 6 || v.Bytes == 0 {
				t.Errorf("%+v (%v)", v, err)
			}
		})
	}
}

// A client that looks for an answer stops sending once it is there.
func TestAnAnswerBeforeTheBody(t *testing.T) {
	s := open(t, lab.Config{})
	a, err := lab.NewArchive(testarchive.Spec{Bytes: 4 << 20, Store: true})
	if err != nil {
		t.Fatal(err)
	}
	refused := s.Instance().Post(t.Context(), lab.Upload{Archive: a, Expect: true})
	if refused.Status != http.StatusForbidden || refused.Whole || refused.Lost != nil {
		t.Errorf("%v, all of the body sent: %t", refused, refused.Whole)
	}
}

func stop(t *testing.T, s *lab.Site) {
	t.Helper()
	if err := s.Server.Stop(); err != nil {
		t.Fatal(err)
	}
}

// What can't tell a difference finds nothing: each of these is wrong, and is found.
func TestReadBackFinds(t *testing.T) {
	s := open(t, lab.Config{Storage: lab.Directory, Database: lab.SQLite})
	a := post(t, s, lab.Upload{Label: "a", Archive: archive(t, 1, 1)}, http.StatusCreated)
	stop(t, s)
	name := a.Archive.Members[0].Name
	object := filepath.Join(s.Symbols.Dir, "symbols", "v1", filepath.FromSlash(name))
	meta := filepath.Join(filepath.Dir(object), "."+filepath.Base(object)+".meta")
	workspace := filepath.Join(s.Spool.Dir, "spool", strings.Repeat("0", 32))
	good, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	sql := func(statement string) func() error {
		return func() error { return execute(t, s, statement) }
	}
	with := func(change func(a *lab.Attempt)) []lab.Attempt {
		changed := a
		change(&changed)
		return []lab.Attempt{changed}
	}
	untouched := func() error { return nil }
	doubt := a
	doubt.Label, doubt.Status, doubt.Archive = "b", 0, archive(t, 1, 2)
	for _, c := range []struct {
		name     string
		do, undo func() error
		told     []lab.Attempt
		want     string
	}{
		{"an object is gone", func() error { return os.Rename(object, object+"x") }, func() error { return os.Rename(object+"x", object) },
			nil, "storage has no v1/" + name},
		{"an object is damaged", func() error {
			return os.WriteFile(object, append(slices.Clone(good[:len(good)-9]), good[:9]...), 0o600)
		},
			func() error { return os.WriteFile(object, good, 0o600) }, nil, name + " is broken"},
		{"metadata are gone", func() error { return os.Rename(meta, meta+"x") }, func() error { return os.Rename(meta+"x", meta) },
			nil, "has no metadata, and no upload was replacing it"},
		{"an object is damaged while it is replaced", func() error {
			return errors.Join(os.Rename(meta, meta+"x"), os.WriteFile(object, good[:len(good)-9], 0o600))
		}, func() error { return errors.Join(os.Rename(meta+"x", meta), os.WriteFile(object, good, 0o600)) },
			[]lab.Attempt{a, doubt}, "are no content that was sent"},
		{"the spool is not empty", func() error { return holdWorkspace(t, workspace) }, func() error { return os.RemoveAll(workspace) },
			nil, "the spool has " + filepath.Base(workspace) + " after a sweep"},
		{"other content was sent", untouched, untouched, with(func(a *lab.Attempt) { a.Archive = archive(t, 1, 2) }), "it may have [{"},
		{"nothing was sent", untouched, untouched, []lab.Attempt{}, "which no client made"},
		{"another id was told", untouched, untouched, with(func(a *lab.Attempt) { a.ID++ }), "was accepted as 2; recorded: true"},
		{"it was not sent to its end", untouched, untouched, with(func(a *lab.Attempt) { a.Whole, a.Status = false, 0 }), "all of it sent: false"},
		{"a record is gone", sql(`UPDATE uploads SET token_label = 'x'`), sql(`UPDATE uploads SET token_label = 'a'`), nil, "was accepted as 1; recorded: false"},
		{"a record has another outcome", sql(`UPDATE uploads SET outcome = 'failed'`), sql(`UPDATE uploads SET outcome = 'completed'`),
			nil, "Outcome:failed"},
		{"a record has fewer files", sql(`UPDATE uploads SET uploaded_count = 5`), sql(`UPDATE uploads SET uploaded_count = 6`), nil, "6 members is recorded as"},
		{"a record is there twice", sql(`INSERT INTO uploads (user_id, token_id, token_label, filename, bucket, try, format, size, created_at)
			SELECT user_id, token_id, token_label, filename, bucket, try, format, size, created_at FROM uploads`),
			sql(`DELETE FROM uploads WHERE outcome IS NULL`), nil, "is recorded twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
			told := c.told
			if told == nil {
				told = []lab.Attempt{a}
			}
			v, err := s.ReadBack(t.Context(), told)
			if err != nil || !slices.ContainsFunc(v.Wrong, func(err error) bool { return strings.Contains(err.Error(), c.want) }) {
				t.Errorf("found %v (%v), not %q", v.Wrong, err, c.want)
			}
			if err := c.undo(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if err := os.Remove(meta); err != nil {
		t.Fatal(err)
	}
	if v, err := s.ReadBack(t.Context(), []lab.Attempt{a, doubt}); err != nil || len(v.Wrong) > 0 || v.Bare != 1 {
		t.Errorf("whole, and without metadata while it is replaced: %+v (%v)", v, err)
	}
}

// The same in S3, where each object must have its metadata and its encoding.
func TestReadBackFindsInS3(t *testing.T) {
	s := open(t, lab.Config{Storage: lab.Versitygw})
	a := post(t, s, lab.Upload{Label: "a", Archive: archive(t, 1, 1)}, http.StatusCreated)
	stop(t, s)
	name := a.Archive.Members[0].Name
	object := filepath.Join(s.S3.Dir, "v1", filepath.FromSlash(name))
	for _, c := range []struct {
		do   func() error
		want string
	}{
		{func() error { return os.WriteFile(filepath.Dir(object)+"/other.sym", []byte("MODULE\n"), 0o600) }, "of no archive that was good"},
		{func() error { return os.Truncate(object, 100) }, name + " is broken"},
		{func() error { return errors.Join(os.Remove(object), os.WriteFile(object, nil, 0o600)) }, name + " has the content type"},
		{func() error { return os.Remove(object) }, "storage has no v1/" + name},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		v, err := s.ReadBack(t.Context(), []lab.Attempt{a})
		if err != nil || !slices.ContainsFunc(v.Wrong, func(err error) bool { return strings.Contains(err.Error(), c.want) }) {
			t.Errorf("found %v (%v), not %q", v.Wrong, err, c.want)
		}
	}
}

// holdWorkspace makes a workspace that seems to have an owner for as long as the test runs.
func holdWorkspace(t *testing.T, dir string) error {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	t.Cleanup(func() { f.Close() })
	return unix.Flock(int(f.Fd()), unix.LOCK_EX)
}

func execute(t *testing.T, s *lab.Site, statement string) error {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.Records.Dir, "records.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(t.Context(), statement)
	return err
}

// What an upload without an answer may have left is allowed until a later one is accepted by another life of the server.
func TestDoubtsEndWithTheServersLife(t *testing.T) {
	s := open(t, lab.Config{Storage: lab.Directory, Database: lab.SQLite})
	sent := post(t, s, lab.Upload{Label: "a", Archive: archive(t, 1, 1)}, http.StatusCreated)
	stop(t, s)
	for _, c := range []struct {
		over, begun int
		wrong       int
	}{{1, 1, 0}, {2, 2, 0}, {1, 2, 6}} {
		// As if an attempt without an answer had sent what storage has, and other content of the same size had been accepted then.
		unheard, told := sent, sent
		unheard.Label, unheard.Status, unheard.Over = "b", 0, c.over
		told.Archive, told.Begun = archive(t, 1, 2), c.begun
		v, err := s.ReadBack(t.Context(), []lab.Attempt{unheard, told})
		if err != nil || len(v.Wrong) != c.wrong {
			t.Errorf("over in life %d, accepted in life %d: %v (%v)", c.over, c.begun, v.Wrong, err)
		}
	}
}

func TestContradictions(t *testing.T) {
	good := archive(t, 1, 1)
	bad := archive(t, 2, 1)
	bad.Break()
	var names []string
	for _, m := range good.Members {
		names = append(names, m.Name)
	}
	created := lab.Answer{Status: 201, ID: 1, Size: good.Size, Uploaded: names[:2], Skipped: names[2:], Ignored: []string{"target-symbols.txt"}}
	for _, c := range []struct {
		name   string
		answer lab.Answer
		of     *lab.Archive
		ok     bool
	}{
		{"accepted", created, good, true},
		{"accepted, broken", created, bad, false},
		{"accepted, a name is missing", func() lab.Answer { a := created; a.Skipped = names[3:]; return a }(), good, false},
		{"accepted, another size", func() lab.Answer { a := created; a.Size++; return a }(), good, false},
		{"rejected, broken", lab.Answer{Status: 400, Error: "damaged"}, bad, true},
		{"rejected, good", lab.Answer{Status: 400, Error: "damaged"}, good, false},
		{"no permission", lab.Answer{Status: 403, Error: "API Token not matched"}, good, false},
		{"too large", lab.Answer{Status: 413, Error: "too large"}, good, false},
		{"busy", lab.Answer{Status: 503, Error: "busy", RetryAfter: "5"}, good, true},
		{"busy, without Retry-After", lab.Answer{Status: 503, Error: "busy"}, good, false},
		{"over its limit", lab.Answer{Status: 429, Error: "limit", RetryAfter: "1"}, good, true},
		{"over its limit, without a reason", lab.Answer{Status: 429, RetryAfter: "1"}, good, false},
		{"failed", lab.Answer{Status: 500, Error: "Internal Server Error"}, good, true},
		{"late", lab.Answer{Status: 504, Error: "late"}, good, true},
		{"broken connection", lab.Answer{Lost: os.ErrClosed}, good, true},
		{"never answered", lab.Answer{Lost: context.DeadlineExceeded}, good, false},
	} {
		if err := c.answer.Contradiction(lab.Upload{Archive: c.of}); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
