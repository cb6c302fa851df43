package telemetry

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/getsentry/sentry-go"
)

const (
	// queued is how many events wait to be sent; more are dropped. An event is 2 to 30 KiB.
	queued = 100
	// sendTimeout bounds one event's way to Sentry, dialTimeout its first part: later ones wait behind it,
	// and we would rather lose an old event than the ones that follow.
	sendTimeout = 10 * time.Second
	dialTimeout = 5 * time.Second
	// missedMargin is by how much a check-in may be late before Sentry raises an alarm.
	missedMargin = 5 * time.Minute

	// maxTag is the longest tag that Sentry takes.
	maxTag = 200
)

// ReporterOptions say where to report failures, and for whom.
type ReporterOptions struct {
	DSN         string // of a Sentry project; empty: nothing is reported
	Environment string // empty: "production"
	Release     string // empty: this program's own version
	Instance    string // shown as the server's name
}

// A Reporter reports failures to Sentry. It is safe for concurrent use and its methods other than Close do
// not block. Without a DSN it does nothing, at no cost; so does the zero Reporter.
//
// Events of one kind, and of one fact "cause", make one issue in Sentry, whatever their texts say; both are of a few fixed texts.
// The facts become the event's context "facts", some of them tags to search by.
type Reporter struct {
	client *sentry.Client // nil: nothing is reported
	http   *http.Transport
	close  sync.Once
}

// NewReporter makes a Reporter, to be ended by Close. It fails when the DSN can't be read.
func NewReporter(o ReporterOptions) (*Reporter, error) {
	if o.DSN == "" {
		return &Reporter{}, nil
	}
	r := &Reporter{http: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		MaxConnsPerHost:     1,
		IdleConnTimeout:     time.Minute,
	}}
	// This one, of the client's two transports, has a queue whose length can be set, and a Close that does
	// not wait for what is being sent.
	transport := sentry.NewHTTPTransport()
	transport.BufferSize = queued
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn: o.DSN,
		// Left empty, the client would ask the process's environment, or git.
		Environment: cmp.Or(o.Environment, "production"),
		Release:     cmp.Or(o.Release, version()),
		ServerName:  cmp.Or(o.Instance, "unknown"),
		Transport:   transport,
		HTTPClient:  &http.Client{Transport: r.http, Timeout: sendTimeout},
		BeforeSend:  scrubEvent,
		// The standard ones add modules, environment variables and the like to each event.
		Integrations:   func([]sentry.Integration) []sentry.Integration { return nil },
		MaxBreadcrumbs: -1,
	})
	if err != nil {
		return nil, fmt.Errorf("read the Sentry DSN: %s", scrub(err.Error()))
	}
	r.client = client
	return r, nil
}

// Error reports a failure. It has no stack: err says what was being done.
func (r *Reporter) Error(kind string, err error, facts ...slog.Attr) {
	r.event(sentry.LevelError, kind, err, facts)
}

// Warning reports what is no failure of this program, and still somebody wants to know.
func (r *Reporter) Warning(kind string, err error, facts ...slog.Attr) {
	r.event(sentry.LevelWarning, kind, err, facts)
}

func (r *Reporter) event(level sentry.Level, kind string, err error, facts []slog.Attr) {
	if !r.client.IsEnabled() {
		return
	}
	event := newEvent(level, facts)
	event.Exception = []sentry.Exception{{Type: kind, Value: err.Error()}}
	event.Fingerprint = []string{kind}
	if cause, ok := event.Tags["cause"]; ok {
		event.Fingerprint = append(event.Fingerprint, cause)
	}
	r.client.CaptureEvent(event, nil, nil)
}

// Panic reports a recovered panic: its value, and the stack as runtime/debug.Stack wrote it where it was
// recovered. Panics of one kind at one function make one issue.
func (r *Reporter) Panic(kind string, value any, stack []byte, facts ...slog.Attr) {
	if !r.client.IsEnabled() {
		return
	}
	event := newEvent(sentry.LevelFatal, facts)
	event.Fingerprint = []string{kind}
	exception := sentry.Exception{Type: kind, Value: fmt.Sprint(value)}
	if f := frames(stack); len(f) > 0 {
		exception.Stacktrace = &sentry.Stacktrace{Frames: f}
		top := f[len(f)-1]
		event.Fingerprint = append(event.Fingerprint, top.Module+"."+top.Function)
	}
	event.Exception = []sentry.Exception{exception}
	r.client.CaptureEvent(event, nil, nil)
}

// A CheckIn tells Sentry that a job ran.
type CheckIn struct {
	Monitor string        // the monitor's slug; Sentry makes the monitor
	OK      bool          // whether the job succeeded
	Elapsed time.Duration // how long it took
	Every   time.Duration // how often it runs, a minute at least; Sentry alarms when it is 5 minutes late
}

// CheckIn sends a check-in.
func (r *Reporter) CheckIn(c CheckIn) {
	if !r.client.IsEnabled() {
		return
	}
	status := sentry.CheckInStatusError
	if c.OK {
		status = sentry.CheckInStatusOK
	}
	every := max(1, int64(c.Every.Round(time.Minute)/time.Minute))
	r.client.CaptureCheckIn(
		&sentry.CheckIn{MonitorSlug: c.Monitor, Status: status, Duration: c.Elapsed},
		&sentry.MonitorConfig{
			Schedule:      sentry.IntervalSchedule(every, sentry.MonitorScheduleUnitMinute),
			CheckInMargin: int64(missedMargin / time.Minute),
		}, nil)
}

// Close sends what is queued, for at most the given time, and ends the Reporter: what is reported later is
// lost. It reports whether all was sent. Called again it does nothing.
func (r *Reporter) Close(timeout time.Duration) bool {
	sent := true
	r.close.Do(func() {
		if r.client.IsEnabled() {
			sent = r.client.Flush(timeout)
			r.client.Close()
			r.http.CloseIdleConnections()
		}
	})
	return sent
}

func newEvent(level sentry.Level, facts []slog.Attr) *sentry.Event {
	event := sentry.NewEvent()
	event.Level = level
	if len(facts) == 0 {
		return event
	}
	explained := make(sentry.Context, len(facts))
	for _, f := range facts {
		explained[f.Key] = plain(f.Key, f.Value)
		if tag := fmt.Sprint(explained[f.Key]); searchable(f.Key) && tag != "" {
			event.Tags[f.Key] = clip(tag, maxTag)
		}
	}
	event.Contexts["facts"] = explained
	return event
}

// searchable reports whether a fact is also a tag: what one looks for events by.
func searchable(key string) bool {
	switch key {
	case "upload", "tenant", "outcome", "phase", "status", "format", "try", "route", "cause", "method":
		return true
	}
	return false
}

// version is this program's, as the build recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
