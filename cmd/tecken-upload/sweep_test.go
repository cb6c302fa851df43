package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tecken-upload/internal/record"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/s3store"
	"tecken-upload/internal/storage/storagetest"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// remains stages files as uploads do whose server then dies.
type remains struct {
	*testing.T
	settings map[string]string
	bucket   *s3store.Store
	records  *record.Store
}

// leaveIn opens a bucket to leave something in, and a database.
func leaveIn(t *testing.T, s3 testenv.S3Server) *remains {
	t.Helper()
	s3.Setenv(t)
	settings := newTenant(t, "1")
	settings["TECKEN_STORAGE_URL"] = s3.URL()
	place, err := storage.ParseURL(s3.URL())
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := s3store.Open(t.Context(), place, s3store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bucket.Close)
	records, err := record.Open(t.Context(), settings["TECKEN_DATABASE_URL"], record.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { records.Close() })
	if err := records.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &remains{T: t, settings: settings, bucket: bucket, records: records}
}

// begin records an upload that stages a file, and returns it with the file's id.
func (r *remains) begin() (u upload.Upload, id string) {
	r.Helper()
	u = upload.Upload{TokenID: 1}
	if err := r.records.Begin(r.Context(), &u); err != nil {
		r.Fatal(err)
	}
	id = r.stage(fmt.Sprintf("a.pdb/%X/a.pdb", u.ID), func(ctx context.Context, id string) error { return r.records.NoteStaged(ctx, u.ID, id) })
	return u, id
}

// stage stages a file.
func (r *remains) stage(key string, note func(ctx context.Context, id string) error) (id string) {
	r.Helper()
	c := storagetest.Random(1, 1000)
	body, done := c.Body(r)
	defer done()
	_, err := r.bucket.Stage(r.Context(), storagetest.Location(r, key), c.Object, body, func(ctx context.Context, noted string) error {
		id = noted
		return note(ctx, id)
	})
	if err != nil {
		r.Fatal(err)
	}
	return id
}

// sweep runs the command, and fails the test unless it exits with code after such lines. It returns what it says on stderr.
func (r *remains) sweep(args []string, code int, lines ...string) (stderr string) {
	r.Helper()
	got, stdout, stderr := command(r.T, r.settings, append([]string{"sweep-storage"}, args...)...)
	found := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	slices.Sort(found)
	slices.Sort(lines)
	if stdout == "" {
		found = nil
	}
	if got != code || !slices.EqualFunc(found, lines, strings.HasPrefix) {
		r.Errorf("sweep-storage %q: status %d, lines %q; want %d, %q\n%s", args, got, found, code, lines, stderr)
	}
	return stderr
}

// What the records know is discarded on every S3, what they don't know where the S3 lists it; what is in progress stays.
func TestSweepOfABucket(t *testing.T) {
	for name, start := range map[string]func(testing.TB) testenv.S3Server{"versitygw": testenv.S3, "MinIO": testenv.MinIO} {
		t.Run(name, func(t *testing.T) {
			r := leaveIn(t, start(t))
			r.sweep(nil, 0)
			ended, endedID := r.begin()
			_, livingID := r.begin()
			ended.Outcome = upload.Failed
			if err := r.records.Finish(t.Context(), &ended); err != nil {
				t.Fatal(err)
			}
			r.sweep([]string{"--dry-run"}, 0, endedID+"\tdue")
			r.sweep(nil, 0, endedID+"\tdiscarded")
			r.sweep(nil, 0)
			r.settings["TECKEN_TENANT_STALE"] = "1us"
			if stderr := r.sweep(nil, 0, livingID+"\tdiscarded"); stderr != "1 discarded, 0 left.\n" {
				t.Errorf("says %q", stderr)
			}

			id := r.stage("größe b/1/a.sym", func(context.Context, string) error { return nil })
			r.sweep(nil, 0)
			var listed []string
			if name != "MinIO" {
				listed = []string{id + "\tdiscarded"}
			}
			r.settings["TECKEN_DATABASE_URL"] = "sqlite:" + filepath.Join(t.TempDir(), "none.db")
			if stderr := r.sweep([]string{"--older-than=0s"}, 2, listed...); !strings.Contains(stderr, "incomplete: the records: there is no database ") {
				t.Errorf("without records: %s", stderr)
			}
			if name == "MinIO" {
				if err := r.bucket.Discard(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// What can't be discarded is named and stays recorded; the rest is discarded.
func TestSweepThatLeavesSome(t *testing.T) {
	s3 := testenv.S3(t)
	r := leaveIn(t, s3)
	r.settings["TECKEN_TENANT_STALE"] = "1us"
	_, first := r.begin()
	_, second := r.begin()
	refuser := testenv.RefuseSome(t, s3.Endpoint, func(req *http.Request) bool {
		return req.Method == http.MethodDelete && strings.HasSuffix(first, strings.TrimPrefix(req.URL.Path, "/symbols/"))
	})
	refuser.Refuse(http.StatusForbidden, "AccessDenied")
	r.settings["TECKEN_STORAGE_URL"] = s3.Through(refuser.Endpoint)
	r.sweep(nil, 1, first+"\tleft\tdiscard what is staged for ", second+"\tdiscarded")
	refuser.Take()
	r.sweep(nil, 0, first+"\tdiscarded")
}

func TestSweepThatCanNotBeDone(t *testing.T) {
	s3 := testenv.S3(t)
	s3.Setenv(t)
	missing := filepath.Join(t.TempDir(), "none")
	refuser := testenv.RefuseS3(t, s3.Endpoint, 1000, http.StatusForbidden, "AccessDenied")
	for name, tt := range map[string]struct {
		url  string
		args []string
		want string
	}{
		"no directory": {"file:" + missing, nil, "TECKEN_STORAGE_URL: stat " + missing},
		"no storage":   {"symbols", nil, "TECKEN_STORAGE_URL: storage is either file:PATH"},
		"no rights":    {s3.Through(refuser.Endpoint), nil, "which takes s3:ListBucketMultipartUploads: refused with AccessDenied"},
		"no age":       {"file:" + missing, []string{"--older-than=-1h"}, "--older-than: is -1h0m0s, must be 0s or more"},
		"no silence":   {"file:" + missing, []string{"--tecken-tenant-stale=0s"}, "TECKEN_TENANT_STALE: is 0s, must be more than 0s"},
		"no database":  {s3.URL(), []string{"--tecken-database-url=mysql:x"}, "TECKEN_DATABASE_URL"},
	} {
		settings := newTenant(t, "1")
		settings["TECKEN_STORAGE_URL"] = tt.url
		code, stdout, stderr := command(t, settings, append([]string{"sweep-storage"}, tt.args...)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s: %d %s%s", name, code, stdout, stderr)
		}
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a directory was made")
	}
}

// In a directory the files of dead writers go; those of living ones stay.
func TestSweepOfADirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".new"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"DEAD", "LIVING"} {
		if err := os.WriteFile(filepath.Join(dir, ".new", name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	living, err := os.Open(filepath.Join(dir, ".new", "LIVING"))
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	if err := unix.Flock(int(living.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	r := &remains{T: t, settings: newTenant(t, "1")}
	r.settings["TECKEN_STORAGE_URL"] = "file:" + dir
	r.sweep([]string{"--dry-run"}, 0, "DEAD\tdue")
	r.sweep(nil, 0, "DEAD\tdiscarded")
	r.sweep(nil, 0)
	if entries, err := os.ReadDir(filepath.Join(dir, ".new")); err != nil || len(entries) != 1 || entries[0].Name() != "LIVING" {
		t.Errorf("left are %v, %v", entries, err)
	}
}
