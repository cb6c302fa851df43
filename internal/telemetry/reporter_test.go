package telemetry_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/sentrytest"
	"tecken-upload/internal/testenv"
)

// flushTimeout is longer than any test's events take.
const flushTimeout = testenv.Patience

// newReporter returns a Reporter and its endpoint.
func newReporter(t *testing.T) (*telemetry.Reporter, *sentrytest.Server) {
	t.Helper()
	server := sentrytest.NewServer()
	t.Cleanup(server.Close)
	return reporterFor(t, server.DSN()), server
}

func reporterFor(t *testing.T, dsn string) *telemetry.Reporter {
	t.Helper()
	reporter, err := telemetry.NewReporter(telemetry.ReporterOptions{
		DSN: dsn, Environment: "test", Release: "1.2.3", Instance: "i-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reporter.Close(0) })
	return reporter
}

// received closes the Reporter and returns its events, which must be n.
func received(t *testing.T, reporter *telemetry.Reporter, server *sentrytest.Server, n int) []sentrytest.Event {
	t.Helper()
	if !reporter.Close(flushTimeout) {
		t.Error("not everything was sent")
	}
	events, err := server.Wait(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != n {
		t.Fatalf("%d events instead of %d: %+v", len(events), n, events)
	}
	return events
}

func TestReporterError(t *testing.T) {
	reporter, server := newReporter(t)
	reporter.Error("sweep failed", errors.New("read /spool: input/output error"),
		slog.String("outcome", "failed"), slog.Int("status", 500), slog.Duration("elapsed", 1500*time.Millisecond),
		slog.Group("phases", slog.Duration("verify", time.Second)), slog.String("filename", "symbols.zip"))
	reporter.Error("sweep failed", errors.New("read /elsewhere: no such device"))

	events := received(t, reporter, server, 2)
	want := sentrytest.Event{
		EventID: events[0].EventID, Level: "error", Environment: "test", Release: "1.2.3", ServerName: "i-1",
		Fingerprint: []string{"sweep failed"},
		Tags:        map[string]string{"outcome": "failed", "status": "500"},
		Contexts: map[string]map[string]any{"facts": {
			"outcome": "failed", "status": 500.0, "elapsed": 1.5, "phases": map[string]any{"verify": 1.0}, "filename": "symbols.zip",
		}},
		Exception: []sentrytest.Exception{{Type: "sweep failed", Value: "read /spool: input/output error"}},
		Raw:       events[0].Raw,
	}
	if diff := cmp.Diff(want, events[0]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want.Fingerprint, events[1].Fingerprint); diff != "" {
		t.Errorf("another text makes another issue: %s", diff)
	}
	for _, leak := range []string{"modules", "GOROOT", "num_cpu", "breadcrumbs", "request"} {
		if strings.Contains(string(events[0].Raw), leak) {
			t.Errorf("%s in %s", leak, events[0].Raw)
		}
	}
}

func TestReporterPanic(t *testing.T) {
	reporter, server := newReporter(t)
	func() {
		defer func() { reporter.Panic("sweep panicked", recover(), debug.Stack(), slog.String("phase", "reclaim")) }()
		explode()
	}()
	event := received(t, reporter, server, 1)[0]
	exception := event.Exception[0]
	if event.Level != "fatal" || exception.Type != "sweep panicked" || exception.Value != "boom" {
		t.Errorf("%+v", event)
	}
	frames := exception.Stacktrace.Frames
	if len(frames) == 0 {
		t.Fatal("no frames")
	}
	if top := frames[len(frames)-1]; top.Function != "explode" || !top.InApp || top.Line == 0 || !strings.HasSuffix(top.AbsPath, "reporter_test.go") {
		t.Errorf("%+v", top)
	}
	if diff := cmp.Diff([]string{"sweep panicked", "tecken-upload/internal/telemetry_test.explode"}, event.Fingerprint); diff != "" {
		t.Error(diff)
	}
}

func TestReporterWarning(t *testing.T) {
	reporter, server := newReporter(t)
	reporter.Warning("orphan reclaimed", errors.New("a server died"), slog.String("phase", "publish"))
	event := received(t, reporter, server, 1)[0]
	if event.Level != "warning" || event.Exception[0].Type != "orphan reclaimed" || event.Tags["phase"] != "publish" {
		t.Errorf("%s", event.Raw)
	}
}

func explode() { panic("boom") }

func TestReporterCheckIn(t *testing.T) {
	reporter, server := newReporter(t)
	reporter.CheckIn(telemetry.CheckIn{Monitor: "sweep", OK: true, Elapsed: 1500 * time.Millisecond, Every: time.Minute})
	reporter.CheckIn(telemetry.CheckIn{Monitor: "sweep", Every: time.Second})
	received(t, reporter, server, 0)
	got := server.CheckIns()
	if len(got) != 2 || got[0].Status != "ok" || got[0].Duration != 1.5 || got[1].Status != "error" {
		t.Fatalf("%+v", got)
	}
	for _, c := range got {
		if s := c.Config.Schedule; c.Monitor != "sweep" || s.Type != "interval" || s.Value != 1.0 || s.Unit != "minute" || c.Config.Margin != 5 {
			t.Errorf("%s", c.Raw)
		}
	}
}

func TestReporterScrubsTheWire(t *testing.T) {
	const url = "http://s3/b/k?X-Amz-Credential=hunter2&X-Amz-Signature=hunter2&X-Amz-Security-Token=hunter2"
	reporter, server := newReporter(t)
	reporter.Error("put failed", errors.New("Get \""+url+"\": EOF"), slog.String("url", url), slog.String("route", url),
		slog.Any("header", http.Header{"Auth-Token": {"hunter2"}}), slog.String("Auth-Token", "hunter2"))
	func() {
		defer func() { reporter.Panic("put panicked", recover(), debug.Stack()) }()
		panic(errors.New("dial postgres://tecken:hunter2@db/tecken"))
	}()
	for _, event := range received(t, reporter, server, 2) {
		if strings.Contains(string(event.Raw), "hunter2") || !strings.Contains(string(event.Raw), "REDACTED") {
			t.Errorf("%s", event.Raw)
		}
	}
}

func TestReporterWithoutDSN(t *testing.T) {
	t.Setenv("SENTRY_DSN", "http://key@127.0.0.1:1/1") // must not be asked for
	before := runtime.NumGoroutine()
	reporter, err := telemetry.NewReporter(telemetry.ReporterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fault := errors.New("fault")
	if n := testing.AllocsPerRun(100, func() {
		reporter.Error("kind", fault)
		reporter.Panic("kind", fault, nil)
		reporter.CheckIn(telemetry.CheckIn{Monitor: "sweep"})
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines more", n-before)
	}
	if !reporter.Close(0) {
		t.Error("something is said to be unsent")
	}
}

func TestReporterRefusesDSN(t *testing.T) {
	for _, dsn := range []string{"key@host/1", "https://host/1", "https://key:hunter2@host", "https://key:hunter2@ho st/1"} {
		if _, err := telemetry.NewReporter(telemetry.ReporterOptions{DSN: dsn}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}

// A DSN without an answer must cost neither time nor memory.
func TestReporterUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // connections are made, and never accepted
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	reporter := reporterFor(t, "http://key@"+listener.Addr().String()+"/1")
	start := time.Now()
	for range 1000 {
		reporter.Error("kind", errors.New("fault"), slog.Int("status", 500))
	}
	if reporter.Close(50 * time.Millisecond) {
		t.Error("everything is said to be sent")
	}
	if elapsed := time.Since(start); elapsed > testenv.Slack(t, 2*time.Second) {
		t.Errorf("blocked for %v", elapsed)
	}
	if !reporter.Close(time.Hour) {
		t.Error("a second Close does something")
	}
}

// While Sentry is slow the queue fills, and stays full.
func TestReporterQueueIsBounded(t *testing.T) {
	var answered atomic.Int64
	arrived, release := make(chan struct{}, 1000), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
		answered.Add(1)
	}))
	defer slow.Close()
	reporter := reporterFor(t, strings.Replace(slow.URL, "://", "://key@", 1)+"/1")
	reporter.Error("kind", errors.New("the one being sent"))
	<-arrived
	for range 500 {
		reporter.Error("kind", errors.New("fault"))
	}
	close(release)
	if !reporter.Close(flushTimeout) {
		t.Error("not everything was sent")
	}
	if n := answered.Load(); n != 101 {
		t.Errorf("%d events were kept, not one and a queue of 100", n)
	}
}

func TestReporterLeavesNoGoroutine(t *testing.T) {
	reporter, server := newReporter(t)
	reporter.Error("kind", errors.New("fault"))
	received(t, reporter, server, 1)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(testenv.Patience)
	for {
		buf := make([]byte, 1<<20)
		if stacks := buf[:runtime.Stack(buf, true)]; !bytes.Contains(stacks, []byte("getsentry")) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s", buf)
		}
	}
}
