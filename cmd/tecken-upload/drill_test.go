package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/s3store"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/telemetry/sentrytest"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// makeArchive makes an archive, and the manifest of what must be found in storage.
func makeArchive(t *testing.T, spec testarchive.Spec) ([]byte, testarchive.Manifest) {
	t.Helper()
	var b bytes.Buffer
	m, err := testarchive.Write(&b, spec)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), m
}

func writing(content []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}
}

// bucket opens the S3 server's bucket, past whatever proxy the server under test goes through.
func bucket(t *testing.T, s3 testenv.S3Server) *s3store.Store {
	t.Helper()
	s3.Setenv(t)
	place, err := storage.ParseURL(s3.URL())
	if err != nil {
		t.Fatal(err)
	}
	store, err := s3store.Open(t.Context(), place, s3store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

// checkStored reads every member of the manifest back and compares it.
func checkStored(t *testing.T, store *s3store.Store, m testarchive.Manifest) {
	t.Helper()
	for _, member := range m.Members {
		if member.Ignored {
			continue
		}
		sum, size, err := readBack(t.Context(), store, member.Name)
		if err != nil || sum != member.MD5 || size != member.Size {
			t.Errorf("%s: %d bytes, MD5 %s, want %d and %s (%v)", member.Name, size, sum, member.Size, member.MD5, err)
		}
	}
}

func readBack(ctx context.Context, store *s3store.Store, name string) (sum string, size int64, err error) {
	key, err := symbol.ParseKey(name)
	if err != nil {
		return "", 0, err
	}
	body, err := store.Open(ctx, upload.Location{Key: key})
	if err != nil {
		return "", 0, err
	}
	defer body.Close()
	var r io.Reader = body
	if body.Object.Gzip {
		if r, err = gzip.NewReader(body); err != nil {
			return "", 0, err
		}
	}
	digest := md5.New()
	size, err = io.Copy(digest, r)
	return hex.EncodeToString(digest.Sum(nil)), size, err
}

// The main job, with everything real: PostgreSQL, S3, every kind of archive.
func TestEveryArchiveArrivesInS3(t *testing.T) {
	s3 := testenv.S3(t)
	database := testenv.Postgres(t)
	settings := withS3(s3, s3.Endpoint, map[string]string{"TECKEN_DATABASE_URL": database})
	d := startDaemon(t, settings)
	d.waitDatabase()
	d.token = d.makeToken(settings)
	store := bucket(t, s3)
	for i, spec := range []testarchive.Spec{
		{Format: testarchive.Zip, Bytes: 8 << 20, Listing: true},
		{Format: testarchive.Zip, Bytes: 4 << 20, Mix: testarchive.PlainMix, Members: 20},
		{Format: testarchive.Zip, Bytes: 2 << 20, Store: true, Members: 20},
		{Format: testarchive.Tar, Bytes: 2 << 20, Members: 20},
		{Format: testarchive.TarGzip, Bytes: 2 << 20, Members: 20},
		{Format: testarchive.TarZstd, Bytes: 1 << 20, Members: 20},
	} {
		t.Run(fmt.Sprintf("%s, stored %t", spec.Format, spec.Store), func(t *testing.T) {
			spec.Seed = uint64(i + 1)
			content, manifest := makeArchive(t, spec)
			first := d.mustPost(writing(content))
			if first.status != http.StatusCreated || len(first.upload.SkippedKeys) != 0 {
				t.Fatalf("status %d: %s, skipped %q", first.status, first.err, first.upload.SkippedKeys)
			}
			checkStored(t, store, manifest)
			again := d.mustPost(writing(content))
			if again.status != http.StatusCreated || len(again.upload.UploadedKeys) != 0 ||
				len(again.upload.SkippedKeys) != len(first.upload.UploadedKeys) {
				t.Errorf("the second time: status %d, %d uploaded, %d skipped of %d", again.status,
					len(again.upload.UploadedKeys), len(again.upload.SkippedKeys), len(first.upload.UploadedKeys))
			}
		})
	}
}

// gated writes the first half of content, tells that it has, and waits for leave to write the rest.
type gated struct {
	content    []byte
	half, rest chan struct{}
}

func newGated(content []byte) *gated {
	return &gated{content: content, half: make(chan struct{}), rest: make(chan struct{})}
}

func (g *gated) write(w io.Writer) error {
	_, err := w.Write(g.content[:len(g.content)/2])
	close(g.half)
	if err != nil {
		return err
	}
	<-g.rest
	_, err = w.Write(g.content[len(g.content)/2:])
	return err
}

// waitReceiving waits until half of g is sent, and the server is receiving it.
func (d *daemon) waitReceiving(g *gated) {
	d.Helper()
	<-g.half
	d.eventually("the server is receiving", func() bool { return d.metric("tecken_uploads_in_receive") > 0 })
}

// posting posts in the background.
func (d *daemon) posting(write func(io.Writer) error) chan reply {
	answers := make(chan reply, 1)
	go func() {
		r, err := d.post(d.Context(), write)
		if err != nil {
			r.err = err.Error()
		}
		answers <- r
	}()
	return answers
}

func TestShutdownLetsUploadsFinish(t *testing.T) {
	d := startDaemon(t, map[string]string{"TECKEN_SHUTDOWN_DELAY": testenv.Slack(t, 2*time.Second).String()})
	content, _ := makeArchive(t, testarchive.Spec{Seed: 1})
	g := newGated(content)
	answer := d.posting(g.write)
	d.waitReceiving(g)
	d.signal(syscall.SIGTERM)
	d.eventually("the balancer's heartbeat is red", func() bool {
		status, _ := d.heartbeat("/__lbheartbeat__")
		if status == 0 {
			t.Fatal("the listener closed before the heartbeat was red")
		}
		return status == http.StatusServiceUnavailable
	})
	d.eventually("the listener is closed", func() bool { status, _ := d.heartbeat("/__lbheartbeat__"); return status == 0 })
	close(g.rest)
	if r := <-answer; r.status != http.StatusCreated {
		t.Errorf("the upload in flight: status %d, %s", r.status, r.err)
	}
	if code := d.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if left := d.spoolEntries(); len(left) != 0 {
		t.Errorf("left in the spool: %q", left)
	}
}

func TestShutdownCancelsWhatDoesNotFinish(t *testing.T) {
	d := startDaemon(t, map[string]string{"TECKEN_SHUTDOWN_TIMEOUT": "200ms"})
	g := newGated(make([]byte, 1<<20))
	answer := d.posting(g.write)
	d.waitReceiving(g)
	d.signal(syscall.SIGTERM)
	line := d.waitLog("upload ended")
	close(g.rest)
	if r := <-answer; r.status != http.StatusServiceUnavailable || r.retryAfter == "" {
		t.Errorf("status %d, Retry-After %q: %s", r.status, r.retryAfter, r.err)
	}
	if code := d.exit(); code != 0 || line["outcome"] != "interrupted" {
		t.Errorf("exit status %d, outcome %v", code, line["outcome"])
	}
	if left := d.spoolEntries(); len(left) != 0 {
		t.Errorf("left in the spool: %q", left)
	}
}

func TestASecondSignalStopsAtOnce(t *testing.T) {
	d := startDaemon(t, nil)
	g := newGated(make([]byte, 1<<20))
	answer := d.posting(g.write)
	d.waitReceiving(g)
	d.signal(syscall.SIGTERM)
	d.waitLog("draining")
	// One that comes together with the first is the same Ctrl-C.
	d.eventually("it has stopped", func() bool { return d.cmd.Process.Signal(syscall.SIGTERM) != nil })
	if code := d.exit(); code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	close(g.rest)
	if r := <-answer; r.status == http.StatusCreated {
		t.Error("the upload was completed by a server that had stopped")
	}
}

// Incident: the database is down when the server starts. It serves, says so, and needs no restart.
func TestTheDatabaseComesUpLater(t *testing.T) {
	cluster := testenv.NewPostgres(t)
	database := cluster.Database(t)
	if err := cluster.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{"TECKEN_DATABASE_URL": database}
	d := startDaemon(t, settings)
	d.token = strings.Repeat("0", 64)
	status, body := d.heartbeat("/__heartbeat__")
	if status != http.StatusServiceUnavailable || body.Checks["database"] != "error" || body.Checks["spool"] != "ok" {
		t.Errorf("heartbeat %d %v", status, body)
	}
	if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusOK {
		t.Errorf("the balancer's heartbeat is %d", status)
	}
	content, _ := makeArchive(t, testarchive.Spec{Seed: 1})
	if r := d.mustPost(writing(content)); r.status != http.StatusServiceUnavailable || r.retryAfter == "" {
		t.Errorf("status %d, Retry-After %q: %s", r.status, r.retryAfter, r.err)
	}
	if err := cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.eventually("the heartbeat is green", func() bool { status, _ := d.heartbeat("/__heartbeat__"); return status == http.StatusOK })
	d.token = d.makeToken(settings)
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Errorf("status %d: %s", r.status, r.err)
	}
}

// Incident A1: the deadline passes while storage does not move. The request ends, not the process; its
// workspace goes with it, Sentry learns what it was, and a retry skips what was pushed.
func TestTheDeadlineEndsTheRequestOnly(t *testing.T) {
	const deadline = 8 * time.Second
	s3 := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, s3.Addr)
	sentry := sentrytest.NewServer()
	t.Cleanup(sentry.Close)
	d := startDaemon(t, withS3(s3, "http://"+proxy.Addr, map[string]string{
		"TECKEN_UPLOAD_TIMEOUT": deadline.String(), "SENTRY_DSN": sentry.DSN(), "TECKEN_STORAGE_SLOTS": "4",
	}))
	content, manifest := makeArchive(t, testarchive.Spec{Seed: 3, Bytes: 4 << 20, Members: 20})
	// The small members pass in time: there is a slot more than large ones, which hardly move.
	heal := proxy.Add("bandwidth", "upstream", map[string]any{"rate": 150})
	sent := make(chan time.Time, 1)
	r := d.mustPost(func(w io.Writer) error {
		defer func() { sent <- time.Now() }()
		return writing(content)(w)
	})
	took := time.Since(<-sent)
	var done int
	_, text, _ := strings.Cut(r.err, ": ")
	if _, err := fmt.Sscanf(text, "%d of 20 files", &done); err != nil || r.status != http.StatusGatewayTimeout || done == 0 || done == 20 {
		t.Errorf("status %d: %s", r.status, r.err)
	}
	if !r.closes {
		t.Error("the connection is kept")
	}
	// The contract allows a second.
	if most := deadline + testenv.Slack(t, time.Second); took < deadline || took > most {
		t.Errorf("answered after %v, with a deadline of %v; want %v at most", took, deadline, most)
	}
	if left := d.spoolEntries(); len(left) != 0 {
		t.Errorf("left in the spool: %q", left)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	events, err := sentry.Wait(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	event := string(events[0].Raw)
	if !strings.Contains(event, "timed_out") || !strings.Contains(event, `"members":20`) || strings.Contains(event, d.token) {
		t.Errorf("the event: %s", event)
	}
	heal()
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated || len(r.upload.SkippedKeys) < done {
		t.Errorf("the retry: status %d, %s, skipped %d of %d", r.status, r.err, len(r.upload.SkippedKeys), done)
	}
	checkStored(t, bucket(t, s3), manifest)
}

// Storage down: uploads are refused for now, the heartbeat names the culprit, and nobody restarts anything.
func TestStorageGoesAndComesBack(t *testing.T) {
	s3 := testenv.S3(t)
	proxy := testenv.Toxiproxy(t, s3.Addr)
	d := startDaemon(t, withS3(s3, "http://"+proxy.Addr, map[string]string{"TECKEN_UPLOAD_TIMEOUT": "2m"}))
	heal := proxy.Add("reset_peer", "downstream", map[string]any{"timeout": 0})
	d.eventually("the heartbeat names storage", func() bool {
		status, body := d.heartbeat("/__heartbeat__")
		return status == http.StatusServiceUnavailable && body.Checks["storage"] == "error" && body.Checks["database"] == "ok"
	})
	content, manifest := makeArchive(t, testarchive.Spec{Seed: 4, Members: 5})
	if r := d.mustPost(writing(content)); r.status != http.StatusServiceUnavailable || r.retryAfter == "" {
		t.Errorf("status %d, Retry-After %q: %s", r.status, r.retryAfter, r.err)
	}
	heal()
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Errorf("status %d: %s", r.status, r.err)
	}
	checkStored(t, bucket(t, s3), manifest)
}

// After many uploads, a third of them cut off, nothing has stayed behind.
func TestNothingStaysBehind(t *testing.T) {
	const clients = 6
	d := startDaemon(t, nil)
	content, _ := makeArchive(t, testarchive.Spec{Seed: 5, Bytes: 1 << 20, Members: 30})
	d.load(content, clients, 2, 0)
	idle := d.settle(0)
	d.load(content, clients, 10, 3)
	// The database's readers, of 3 descriptors each, are kept once they were needed: the second load may have
	// needed a few more.
	after := d.settle(idle + 12)
	t.Logf("descriptors and goroutines, idle: %v, after: %v", idle, after)
	// The spool's figures may be a quarter of a second old.
	d.eventually("no bytes are held", func() bool { return d.metric("tecken_spool_held_bytes") == 0 })
	if left := d.spoolEntries(); len(left) != 0 {
		t.Errorf("left in the spool: %q", left)
	}
}

// load posts the archive so many times from each client. Every cut-th upload, if cut is not 0, breaks off
// somewhere, each elsewhere.
func (d *daemon) load(content []byte, clients, times, cut int) {
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range times {
				if cut == 0 || (i+c)%cut != 0 {
					if r, err := d.post(d.Context(), writing(content)); err != nil || r.status != http.StatusCreated {
						d.Errorf("status %d: %s (%v)", r.status, r.err, err)
					}
					continue
				}
				part := (i*clients + c) * len(content) / (times * clients)
				_, err := d.post(d.Context(), func(w io.Writer) error {
					return errors.Join(writing(content[:part])(w), errors.New("cut off"))
				})
				if err == nil {
					d.Error("an upload that was cut off got an answer")
				}
			}
		})
	}
	wg.Wait()
	http.DefaultClient.CloseIdleConnections()
}

// settle waits until the number of descriptors and goroutines rests, with a limit other than 0 until it does
// below that, and returns it. Looking at it takes two or three by itself.
func (d *daemon) settle(limit float64) (n float64) {
	d.Helper()
	base, same := -1.0, 0
	d.eventually("the number of descriptors and goroutines rests", func() bool {
		http.DefaultClient.CloseIdleConnections()
		n = d.metric("process_open_fds") + d.metric("go_goroutines")
		if math.Abs(n-base) <= 4 {
			same++
		} else {
			base, same = n, 0
		}
		return same >= 20 && (limit == 0 || n <= limit)
	})
	return n
}

func (d *daemon) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.Context(), program(d, name), args...)
	cmd.Dir, cmd.Env = d.dir, environ(nil)
	return cmd
}

// Incident A3, from the server's side: the database and storage go away under load and come back. The
// janitor needs neither.
func TestTheDatabaseGoesAway(t *testing.T) {
	cluster := testenv.NewPostgres(t)
	settings := map[string]string{"TECKEN_DATABASE_URL": cluster.Database(t)}
	d := startDaemon(t, settings)
	d.waitDatabase()
	d.token = d.makeToken(settings)
	content, _ := makeArchive(t, testarchive.Spec{Seed: 6})
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Fatalf("status %d: %s", r.status, r.err)
	}
	janitor := d.command("disk-manager", "run")
	janitor.Env = environ(map[string]string{"TECKEN_ORPHAN_AGE": "0s", "TECKEN_SWEEP_INTERVAL": "200ms", "TECKEN_JANITOR_METRICS_LISTEN": "127.0.0.1:0"})
	if err := janitor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = janitor.Process.Kill(); _ = janitor.Wait() }()
	if err := cluster.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := d.mustPost(writing(content)); r.status != http.StatusServiceUnavailable || r.retryAfter == "" {
		t.Errorf("status %d, Retry-After %q: %s", r.status, r.retryAfter, r.err)
	}
	d.eventually("the heartbeat names the database", func() bool {
		status, body := d.heartbeat("/__heartbeat__")
		return status == http.StatusServiceUnavailable && body.Checks["database"] == "error" && body.Checks["storage"] == "ok"
	})
	if status, _ := d.heartbeat("/__lbheartbeat__"); status != http.StatusOK {
		t.Errorf("the balancer's heartbeat is %d", status)
	}
	stray := filepath.Join(d.dir, "data", "spool", "stray")
	if err := os.WriteFile(stray, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.eventually("the janitor has removed a stray file", func() bool {
		_, err := os.Stat(stray)
		return errors.Is(err, fs.ErrNotExist)
	})
	if err := cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.eventually("the heartbeat is green", func() bool { status, _ := d.heartbeat("/__heartbeat__"); return status == http.StatusOK })
	if r := d.mustPost(writing(content)); r.status != http.StatusCreated {
		t.Errorf("the database is back: status %d: %s", r.status, r.err)
	}
}
