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
	// queued bounds the events that wait to be sent; more are dropped. An event has 2 to 30 KiB.
	queued = 100
	// sendTimeout bounds the sending of one event, dialTimeout its first part. Later events wait behind it, and we would rather lose an old
	// event than those.
	sendTimeout = 10 * time.Second
	dialTimeout = 5 * time.Second
	// missedMargin is how late a check-in may be before Sentry raises an alarm.
	missedMargin = 5 * time.Minute

	// maxTag is the longest tag in Sentry.
	maxTag = 200
)

// ReporterOptions configure a Reporter.
type ReporterOptions struct {
	DSN         string // of a Sentry project; empty: nothing is reported
	Environment string // empty: "production"
	Release     string // empty: this program's own version
	Instance    string // shown as the server's name
}

// A Reporter reports failures to Sentry. It is safe for concurrent use and its methods except Close do not block. Without a DSN it does
// nothing, at no cost; so does the zero Reporter.
//
// Events of one kind and one fact "cause" make one issue in Sentry, whatever their texts; both are from a few fixed texts. The facts become
// the event's context "facts", some of them tags to search by.
type Reporter struct {
	client *sentry.Client // nil: nothing is reported
	http   *http.Transport
	close  sync.Once
}

// NewReporter makes a Reporter. End it with Close. It fails if the DSN is unreadable.
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
	// Of the client's two transports this one has a queue of settable length, and a Close that does not wait for the event being sent.
	transport := sentry.NewHTTPTransport()
	transport.BufferSize = queued
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn: o.DSN,
		// If empty, the client would ask the process's environment, or git.
		Environment: cmp.Or(o.Environment, "production"),
		Release:     cmp.Or(o.Release, version()),
		ServerName:  cmp.Or(o.Instance, "unknown"),
		Transport:   transport,
		HTTPClient:  &http.Client{Transport: r.http, Timeout: sendTimeout},
		BeforeSend:  scrubEvent,
		// The standard integrations add modules, environment variables and the like to each event.
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

// Warning reports a fault outside this program that people should know of.
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

// Panic reports a recovered panic: its value, and runtime/debug.Stack's text from where it was recovered. Panics of one kind in one
// function make one issue.
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

// A CheckIn reports the run of a job.
type CheckIn struct {
	Monitor string        // the monitor's slug; Sentry creates the monitor
	OK      bool          // the job succeeded
	Elapsed time.Duration // how long it took
	Every   time.Duration // interval of at least a minute; Sentry alarms when it is 5 minutes late
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

// Close sends the queued events for at most the given time, and ends the Reporter: later reports are lost. It returns whether all were
// sent. A second call does nothing.
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

// searchable reports whether a fact is also a tag to search by.
func searchable(key string) bool {
	switch key {
	case "upload", "tenant", "outcome", "phase", "status", "format", "try", "route", "cause", "method":
		return true
	}
	return false
}

// version is this program's version from the build.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
