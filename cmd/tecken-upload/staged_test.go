package main

import (
	"net/http"
	"testing"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// Incident A1, in storage: a server is killed when large members are staged. No reader sees any of it. The parts stay as long as their upload
// may be alive, and go with the first sweep of storage after that. The retry stores everything.
func TestKilledWithMembersStaged(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) testenv.S3Server{"versitygw": testenv.S3, "MinIO": testenv.MinIO} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s3 := start(t)
			d := serveOn(newS3Site(t, s3, s3.Endpoint, nil))
			content := makeArchive(t, testarchive.Spec{Seed: 7, Bytes: 24 << 20, Members: 20})
			staged := func() bool { return len(d.expectStaged()) > 0 }
			d.post(lab.Upload{Archive: content, Share: 0.95, Midway: func() {
				d.eventually("a member is staged", staged)
				d.kill()
			}})
			for _, m := range content.Members {
				if size, _, err := d.Stored(t.Context(), m.Name); err == nil {
					t.Errorf("%s is visible, with %d bytes", m.Name, size)
				}
			}
			d.sweepStorage()
			if !staged() {
				t.Error("the sweep removed what may belong to an upload in flight")
			}
			d.Settings["TECKEN_TENANT_STALE"] = "4s" // the least
			d.eventually("the parts are gone", func() bool {
				d.sweepStorage()
				return !staged()
			})
			d = d.again()
			d.expectPost(content, http.StatusCreated)
			d.checkStored(content)
			if left := d.expectStaged(); len(left) > 0 {
				t.Errorf("an upload that is committed left %q", left)
			}
		})
	}
}

// expectStaged lists what storage keeps that no reader sees.
func (d *daemon) expectStaged() []string {
	d.Helper()
	files, err := d.Staged()
	if err != nil {
		d.Fatal(err)
	}
	return files
}

// sweepStorage has the server's program make one pass over storage.
func (d *daemon) sweepStorage() {
	d.Helper()
	if _, err := d.Run("tecken-upload", "sweep-storage"); err != nil {
		d.Fatal(err)
	}
}
