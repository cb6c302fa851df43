package main

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// patience bounds every wait of these tests.
const patience = testenv.Patience

func TestMain(m *testing.M) { os.Exit(lab.Run(m)) }

// daemon is a server that runs, on a site of its own, and a client of it.
type daemon struct {
	*lab.Site
	*lab.Instance
	token string
}

// newSite opens a site. Bodies that tests hold back are no slow ones.
func newSite(t testing.TB, settings map[string]string) *lab.Site {
	t.Helper()
	all := map[string]string{"TECKEN_RECEIVE_STALL_TIMEOUT": patience.String(), "TECKEN_RECEIVE_MIN_RATE": "0B/s", "TECKEN_ORPHAN_AGE": "15m"}
	maps.Copy(all, settings)
	return lab.Open(t, lab.Config{Settings: all})
}

// newS3Site opens a site with an S3 server for its storage, reached at that endpoint.
func newS3Site(t testing.TB, s3 testenv.S3Server, endpoint string, settings map[string]string) *lab.Site {
	t.Helper()
	site := newSite(t, settings)
	site.UseS3(s3)
	site.Settings["TECKEN_STORAGE_URL"] = s3.Through(endpoint)
	return site
}

// startDaemon starts a server on a new site.
func startDaemon(t testing.TB, settings map[string]string) *daemon {
	t.Helper()
	return serveOn(newSite(t, settings))
}

// serveOn starts a server on a site, and makes a token.
func serveOn(site *lab.Site) *daemon {
	site.Helper()
	d := serveAs(site, "")
	d.token = site.Token("ci@example.com")
	return d
}

// serveAs starts a server on a site that has a token already.
func serveAs(site *lab.Site, token string) *daemon {
	site.Helper()
	d := &daemon{Site: site, Instance: site.Serve(), token: token}
	d.waitDatabase()
	return d
}

// again starts a server once more where it ran before.
func (d *daemon) again() *daemon {
	d.Helper()
	return serveAs(d.Site, d.token)
}

// as is the same server for another tenant.
func (d *daemon) as(token string) *daemon {
	return &daemon{Site: d.Site, Instance: d.Instance, token: token}
}

// waitDatabase waits until the schema is migrated: until then uploads are refused.
func (d *daemon) waitDatabase() {
	d.Helper()
	d.eventually("the database is ready", func() bool {
		_, checks := d.heartbeat("/__heartbeat__")
		return checks["database"] == "ok"
	})
}

// patient is a context that ends with the test, or when patience does.
func (d *daemon) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(d.Context(), patience)
}

// eventually waits until a condition holds.
func (d *daemon) eventually(what string, holds func() bool) {
	d.Helper()
	ctx, cancel := d.patient()
	defer cancel()
	if err := lab.Until(ctx, what, holds); err != nil {
		d.Fatal(err)
	}
}

// waitLog returns the first log entry with that message.
func (d *daemon) waitLog(msg string) map[string]any {
	d.Helper()
	ctx, cancel := d.patient()
	defer cancel()
	e, err := d.Logged(ctx, msg)
	if err != nil {
		d.Fatal(err)
	}
	return e
}

func (d *daemon) signal(s syscall.Signal) {
	d.Helper()
	if err := d.Signal(s); err != nil {
		d.Fatal(err)
	}
}

// kill is kill -9.
func (d *daemon) kill() {
	d.Helper()
	if err := d.Kill(); err != nil {
		d.Fatal(err)
	}
}

// expectExit waits for the end of the server, which is to have that status.
func (d *daemon) expectExit(want int) {
	d.Helper()
	ctx, cancel := d.patient()
	defer cancel()
	if got, err := d.ExitCode(ctx); err != nil || got != want {
		d.Errorf("exit status %d, want %d (%v)", got, want, err)
	}
}

// heartbeat returns the answer of one of the heartbeats; status 0 where there is none.
func (d *daemon) heartbeat(path string) (status int, checks map[string]string) {
	return d.Heartbeat(d.Context(), path)
}

// expectHeartbeats checks the status of the balancer's heartbeat, and that of the whole one.
func (d *daemon) expectHeartbeats(balancer, whole int) {
	d.Helper()
	if status, _ := d.heartbeat("/__lbheartbeat__"); status != balancer {
		d.Errorf("the balancer's heartbeat is %d, want %d", status, balancer)
	}
	if status, checks := d.heartbeat("/__heartbeat__"); status != whole {
		d.Errorf("the heartbeat is %d %v, want %d", status, checks, whole)
	}
}

func (d *daemon) eventuallyGreen() {
	d.Helper()
	d.eventually("the heartbeats are green", func() bool {
		lb, _ := d.heartbeat("/__lbheartbeat__")
		full, _ := d.heartbeat("/__heartbeat__")
		return lb == http.StatusOK && full == http.StatusOK
	})
}

// makeArchive makes an archive.
func makeArchive(t testing.TB, spec testarchive.Spec) *lab.Archive {
	t.Helper()
	a, err := lab.NewArchive(spec)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// raw is a body of these bytes.
func raw(content []byte) *lab.Archive {
	return &lab.Archive{Filename: "symbols.zip", Content: bytes.NewReader(content), Size: int64(len(content))}
}

// zeros is a body of so many zeros.
func zeros(size int64) *lab.Archive {
	return &lab.Archive{Filename: "symbols.zip", Content: nothing{}, Size: size}
}

// nothing reads as zeros.
type nothing struct{}

func (nothing) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// post sends an upload.
func (d *daemon) post(u lab.Upload) lab.Answer {
	u.Token = d.token
	return d.Post(d.Context(), u)
}

// mustPost posts an archive without telling its size, which must be answered.
func (d *daemon) mustPost(a *lab.Archive) lab.Answer {
	d.Helper()
	r := d.post(lab.Upload{Archive: a, Chunked: true})
	if r.Lost != nil {
		d.Fatal(r.Lost)
	}
	return r
}

// expectPost posts an archive, which must be answered with that status; one that says that there is no room says for how long.
func (d *daemon) expectPost(a *lab.Archive, want int) lab.Answer {
	d.Helper()
	r := d.mustPost(a)
	if refused := want == http.StatusServiceUnavailable || want == http.StatusTooManyRequests; r.Status != want || (r.RetryAfter != "") != refused {
		d.Errorf("answered %v, want %d", r, want)
	}
	return r
}

// posting posts in the background.
func (d *daemon) posting(a *lab.Archive) chan lab.Answer {
	answer := make(chan lab.Answer, 1)
	go func() { answer <- d.post(lab.Upload{Archive: a, Chunked: true}) }()
	return answer
}

// held is an upload that stops halfway.
type held struct {
	answer  chan lab.Answer
	release func() // lets it go on; may be called again
}

// hold posts the first half of an archive, and returns when it is sent.
func (d *daemon) hold(a *lab.Archive) held {
	half, rest := make(chan struct{}), make(chan struct{})
	h := held{make(chan lab.Answer, 1), sync.OnceFunc(func() { close(rest) })}
	go func() {
		h.answer <- d.post(lab.Upload{Archive: a, Chunked: true, Share: 0.5, Midway: func() { close(half); <-rest }})
	}()
	select {
	case <-half:
	case a := <-h.answer: // it was refused before
		h.answer <- a
	}
	return h
}

// finish lets the upload go on, and returns its answer.
func (h held) finish() lab.Answer {
	h.release()
	return <-h.answer
}

// waitReceiving waits until the server receives so many uploads.
func (d *daemon) waitReceiving(n float64) {
	d.Helper()
	d.eventually("the uploads are received", func() bool { return d.metric("tecken_uploads_in_receive") == n })
}

// text returns the body of an answer, whatever its status.
func (d *daemon) text(url string) string {
	d.Helper()
	_, text, err := lab.Get(d.Context(), url)
	if err != nil {
		d.Fatal(err)
	}
	return string(text)
}

// metric returns the value of a metric, which must be there; the sum, where several series begin so.
func (d *daemon) metric(name string) float64 {
	d.Helper()
	return d.metricAt(d.Metrics, name)
}

func (d *daemon) metricAt(address, name string) float64 {
	d.Helper()
	value, found := lab.Metrics(d.text("http://" + address + "/metrics")).Sum(name)
	if !found {
		d.Fatalf("no metric %s", name)
	}
	return value
}

// spoolEntries lists what is in the spool besides its mark.
func (d *daemon) spoolEntries() (names []string) {
	d.Helper()
	entries, err := os.ReadDir(d.SpoolDir())
	if err != nil {
		d.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ".tecken-spool" {
			names = append(names, e.Name())
		}
	}
	return names
}

// expectEmptySpool checks that no upload has left anything.
func (d *daemon) expectEmptySpool() {
	d.Helper()
	if left := d.spoolEntries(); len(left) != 0 {
		d.Errorf("left in the spool: %q", left)
	}
}

// startJanitor starts the disk manager, which sweeps all the time.
func (d *daemon) startJanitor() {
	d.Helper()
	d.Settings["TECKEN_SWEEP_INTERVAL"] = "200ms"
	d.Start("disk-manager", "run")
}

// checkStored checks that all members of an archive are in storage.
func (d *daemon) checkStored(a *lab.Archive) {
	d.Helper()
	if err := d.CheckStored(d.Context(), a); err != nil {
		d.Error(err)
	}
}
