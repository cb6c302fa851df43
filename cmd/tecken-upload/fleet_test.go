package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tecken-upload/internal/storage/s3store"
	"tecken-upload/internal/testarchive"
	"tecken-upload/internal/testenv"
)

// documented returns the block of docs/operations.md that is in this language.
func documented(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(t), "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "\n```"+language+"\n")
	block, _, closed := strings.Cut(block, "\n```\n")
	if !found || !closed {
		t.Fatalf("docs/operations.md has no block of %s", language)
	}
	return block + "\n"
}

// replaced replaces texts that must be there, given in pairs.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("there is no %q in\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// documentedNginx is what docs/operations.md says, before these two instances and without TLS.
func documentedNginx(t *testing.T, first, second string) func(listen string) string {
	t.Helper()
	return func(listen string) string {
		text := regexp.MustCompile(`(?m)^ *ssl_.*\n`).ReplaceAllString(documented(t, "nginx"), "")
		return replaced(t, text, "10.0.0.11:8000", first, "10.0.0.12:8000", second, "listen 443 ssl;", "listen "+listen+";")
	}
}

func (d *daemon) addr() string { return strings.TrimPrefix(d.url, "http://") }

// fleet is two instances that share a database and a bucket, and nginx before them.
type fleet struct {
	*testing.T
	nginx     *testenv.NginxServer
	instances [2]*daemon
	front     *front
	database  string
	store     *s3store.Store
}

// newFleet starts a fleet. The settings are for both instances.
func newFleet(t *testing.T, settings map[string]string) *fleet {
	t.Helper()
	s3 := testenv.S3(t)
	f := &fleet{T: t, database: testenv.Postgres(t), store: bucket(t, s3)}
	for i := range f.instances {
		own := withS3(s3, s3.Endpoint, settings)
		own["TECKEN_DATABASE_URL"] = f.database
		own["TECKEN_INSTANCE"] = fmt.Sprintf("instance%d", i)
		f.instances[i] = startDaemon(t, own)
		f.instances[i].waitDatabase()
		if i == 0 {
			f.instances[i].token = f.instances[i].makeToken(own)
		}
	}
	f.nginx = testenv.Nginx(t, documentedNginx(t, f.instances[0].addr(), f.instances[1].addr()))
	f.front = &front{T: t, url: f.nginx.URL, token: f.instances[0].token}
	return f
}

// front is where clients send their uploads, and what became of them.
type front struct {
	*testing.T
	url, token string

	accepted atomic.Int64 // uploads
	mu       sync.Mutex
	attempts []attempt
}

// attempt is one request of a client's for one upload.
type attempt struct {
	label string // of its token, and so of its record: no two have the same
	reply
	broken error // there was no answer of the server's
}

// upload posts an archive as clients in the field do: again, up to 20 times, after an answer of 408, 429, 5xx, or
// none. Only the pauses are shorter. Of the first attempt the body is what first writes, where that is not nil.
func (f *front) upload(client string, content []byte, first func(io.Writer) error) reply {
	pause := 250 * time.Millisecond
	for i := range 20 {
		write := writing(content)
		if i == 0 && first != nil {
			write = first
		}
		a := attempt{label: fmt.Sprintf("%s-%d", client, i)}
		as := &daemon{T: f.T, url: f.url, token: f.token + "-" + a.label}
		a.reply, a.broken = as.post(f.Context(), write)
		f.mu.Lock()
		f.attempts = append(f.attempts, a)
		f.mu.Unlock()
		switch {
		case a.status == http.StatusCreated:
			f.accepted.Add(1)
			return a.reply
		case a.broken == nil && a.status != http.StatusRequestTimeout && a.status != http.StatusTooManyRequests && a.status < 500:
			f.Errorf("%s: status %d: %s", a.label, a.status, a.err)
			return a.reply
		}
		select {
		case <-time.After(pause):
		case <-f.Context().Done():
			return a.reply
		}
		pause = min(2*pause, 4*time.Second)
	}
	f.Errorf("%s: gave up", client)
	return reply{}
}

// parcel is an archive with the name of whoever posts it.
type parcel struct {
	client   string
	content  []byte
	manifest testarchive.Manifest
}

// parcels makes archives, each with symbols of its own.
func parcels(t *testing.T, name string, n int, seed uint64) []parcel {
	t.Helper()
	list := make([]parcel, n)
	for i := range list {
		list[i].client = fmt.Sprintf("%s%d", name, i)
		list[i].content, list[i].manifest = makeArchive(t, testarchive.Spec{Seed: seed + uint64(i), Bytes: 400 << 10, Members: 12})
	}
	return list
}

// spooled are the uploads that a dead instance was at, by what it left in its spool.
func (d *daemon) spooled() (ids []int64) {
	d.Helper()
	for _, name := range d.spoolEntries() {
		text, err := os.ReadFile(filepath.Join(d.dir, "data", "spool", name, "manifest.json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // killed while the workspace was made
		}
		if err != nil {
			d.Fatal(err)
		}
		m := regexp.MustCompile(`"upload":(\d+)`).FindSubmatch(text)
		if m == nil {
			continue // killed before it was begun
		}
		var id int64
		if _, err := fmt.Sscan(string(m[1]), &id); err != nil {
			d.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// One of two instances is killed with uploads in flight. The other goes on, clients send again what broke, and
// in the end every upload is stored, and recorded once.
func TestFleetLosesAnInstance(t *testing.T) {
	const held, clients, each = 4, 4, 4
	f := newFleet(t, nil)
	dead, alive := f.instances[0], f.instances[1]
	gatedParcels, steady := parcels(t, "held", held, 100), parcels(t, "steady", clients*each, 200)

	var posting sync.WaitGroup
	gates := make([]*gated, held)
	for i, p := range gatedParcels {
		gates[i] = newGated(p.content)
		posting.Go(func() { f.front.upload(p.client, p.content, gates[i].write) })
		<-gates[i].half
	}
	f.front.waitReceiving(dead, held/2)
	f.front.waitReceiving(alive, held/2)
	for c := range clients {
		posting.Go(func() {
			for _, p := range steady[c*each : (c+1)*each] {
				f.front.upload(p.client, p.content, nil)
			}
		})
	}
	dead.eventually("some uploads are accepted", func() bool { return f.front.accepted.Load() >= clients })
	dead.signal(syscall.SIGKILL)
	dead.exit()
	before := f.front.accepted.Load()
	alive.eventually("the other instance goes on", func() bool { return f.front.accepted.Load() > before })
	for _, g := range gates {
		close(g.rest)
	}
	posting.Wait()

	for _, p := range append(gatedParcels, steady...) {
		checkStored(t, f.store, p.manifest)
	}
	alive.eventually("nothing is in progress", func() bool { return len(alive.spoolEntries()) == 0 })
	c := takeCensus(t, f.database, f.front)
	if denied := c.check(held + clients*each); denied > 0 {
		t.Errorf("%d uploads are recorded as completed, and were answered otherwise", denied)
	}
	orphans := dead.spooled()
	if len(orphans) < held/2 {
		t.Errorf("the dead instance left %d uploads in its spool, want at least the %d it was receiving", len(orphans), held/2)
	}
	c.checkEndless(orphans)
	f.checkBroken(dead.addr())
	t.Logf("%d attempts for %d uploads, %d records without an end, %d orphans", len(f.front.attempts), held+clients*each, len(c.endless), len(orphans))
}

// waitReceiving waits until an instance receives so many uploads.
func (f *front) waitReceiving(d *daemon, n float64) {
	f.Helper()
	d.eventually(fmt.Sprintf("%v uploads are received", n), func() bool { return d.metric("tecken_uploads_in_receive") == n })
}

// checkBroken checks that every answer of nginx's own came of one instance alone.
func (f *fleet) checkBroken(addr string) {
	f.Helper()
	for _, line := range f.accessLog() {
		if line.status == "502" && line.upstreams != addr {
			f.Errorf("answered 502 for %s, want only for %s", line.upstreams, addr)
		}
	}
}

// access is a line of nginx's access log.
type access struct {
	method, path, status, upstreams string
}

func (f *fleet) accessLog() (lines []access) {
	f.Helper()
	text, err := os.ReadFile(f.nginx.AccessLog)
	if err != nil {
		f.Fatal(err)
	}
	for scan := bufio.NewScanner(bytes.NewReader(text)); scan.Scan(); {
		fields := strings.SplitN(scan.Text(), " ", 4)
		if len(fields) != 4 {
			f.Fatalf("access log: %q", scan.Text())
		}
		lines = append(lines, access{fields[0], fields[1], fields[2], fields[3]})
	}
	return lines
}

// nobodysAddress is one that refuses connections, for as long as the test runs.
func nobodysAddress(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	// Bound, so that nobody else gets it, and not listened to.
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("bound to %v", name)
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(in.Port))
}

// A connection that is refused costs a client nothing: the upload goes to the other instance.
func TestNginxPassesARefusedConnectionOn(t *testing.T) {
	d := startDaemon(t, nil)
	dead := nobodysAddress(t)
	nginx := testenv.Nginx(t, documentedNginx(t, dead, d.addr()))
	f := &fleet{T: t, nginx: nginx}
	as := &daemon{T: t, url: nginx.URL, token: d.token}
	content, _ := makeArchive(t, testarchive.Spec{Seed: 1})
	for range 4 {
		if r := as.mustPost(writing(content)); r.status != http.StatusCreated {
			t.Errorf("status %d: %s", r.status, r.err)
		}
	}
	passed := 0
	for _, line := range f.accessLog() {
		if line.upstreams == dead+", "+d.addr() {
			passed++
		}
	}
	if passed == 0 {
		t.Errorf("none was passed on: %v", f.accessLog())
	}
}

// What docs/operations.md puts beside nginx takes an instance out while its heartbeat is red, and puts it back.
func TestNginxIsToldOfRedHeartbeats(t *testing.T) {
	first := startDaemon(t, map[string]string{"TECKEN_SHUTDOWN_DELAY": "10m"})
	second := startDaemon(t, nil)
	nginx := testenv.Nginx(t, documentedNginx(t, first.addr(), second.addr()))
	conf := filepath.Join(nginx.Dir, "nginx.conf")
	script := replaced(t, documented(t, "sh"), "/etc/nginx/conf.d/tecken.conf", conf,
		"nginx -s reload", nginx.ReloadCommand())
	look := func() string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "/bin/sh", "-c", script).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		text, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if text := look(); strings.Contains(text, " down;") {
		t.Errorf("an instance is down while both are green:\n%s", text)
	}
	first.signal(syscall.SIGTERM)
	first.eventually("its heartbeat is red", func() bool {
		status, _ := first.heartbeat("/__lbheartbeat__")
		return status == http.StatusServiceUnavailable
	})
	out := first.addr() + " max_fails=3 fail_timeout=10s down;"
	if text := look(); strings.Count(text, " down;") != 1 || !strings.Contains(text, out) {
		t.Errorf("the instance that drains is not down:\n%s", text)
	}
	// The reload takes a moment. GETs go to whichever instance counts.
	second.eventually("nginx asks the other one alone", func() bool {
		for range 8 {
			resp, err := http.Get(nginx.URL + "/__lbheartbeat__")
			if err != nil {
				return false
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return false
			}
		}
		return true
	})
	second.signal(syscall.SIGKILL)
	second.exit()
	if text := look(); strings.Count(text, " down;") != 1 {
		t.Errorf("with none left it was to change nothing:\n%s", text)
	}
}
