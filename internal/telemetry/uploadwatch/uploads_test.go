package uploadwatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/metricstest"
	"tecken-upload/internal/telemetry/sentrytest"
	"tecken-upload/internal/telemetry/uploadwatch"
	"tecken-upload/internal/testenv"
	"tecken-upload/internal/upload"
)

// flushTimeout is longer than any test's events take.
const flushTimeout = testenv.Patience

var _ upload.Observer = (*uploadwatch.Uploads)(nil)

// newLog returns a logger and what reads its lines so far.
func newLog(t *testing.T) (*slog.Logger, func() []map[string]any) {
	t.Helper()
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "info", "i-1")
	if err != nil {
		t.Fatal(err)
	}
	return log, func() []map[string]any {
		var lines []map[string]any
		for line := range strings.Lines(out.String()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			lines = append(lines, fields)
		}
		return lines
	}
}

// newReporter returns a Reporter and the endpoint that it reports to.
func newReporter(t *testing.T) (*telemetry.Reporter, *sentrytest.Server) {
	t.Helper()
	server := sentrytest.NewServer()
	t.Cleanup(server.Close)
	reporter, err := telemetry.NewReporter(telemetry.ReporterOptions{DSN: server.DSN(), Instance: "i-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reporter.Close(0) })
	return reporter, server
}

func explode() { panic("boom") }

// report returns what is told of an upload that came to an end in its publish phase.
func report(outcome upload.Outcome, err error) *upload.Report {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &upload.Report{
		Upload: upload.Upload{
			ID: 7, User: "ci@example.com", TokenID: 3, TokenLabel: "linux", Filename: "symbols.zip", Try: true, Format: "zip",
			Size: 3000, CreatedAt: began, EndedAt: began.Add(4 * time.Second), Outcome: outcome, Phase: upload.PhasePublish,
			Files: []upload.File{
				{Name: "a.pdb/1/a.sym", State: upload.FileUploaded, Size: 4500, StoredSize: 1000},
				{Name: "b.pdb/1/b.SYM", State: upload.FileSkipped, Size: 500},
				{Name: "a.pdb/1/a.pd_", State: upload.FileUploaded, Size: 1500, StoredSize: 1500},
				{Name: "c/1/c.dbg.gz", State: upload.FilePending, Size: 300},
				{Name: "d/1/d.weird", State: upload.FilePending, Size: 10},
				{Name: "firefox-symbols.txt", State: upload.FileIgnored, Size: 20},
			},
		},
		Declared: 3200,
		Phases: map[upload.Phase]time.Duration{
			upload.PhaseReceive: 1500 * time.Millisecond, upload.PhaseVerify: time.Second, upload.PhasePublish: 500 * time.Millisecond,
		},
		Err: err,
	}
}

// answered is a status for every end of an upload.
func answered(status int) func(error) int { return func(error) int { return status } }

// ended reports one upload that was answered with a status, and returns its log line and the events it made.
func ended(t *testing.T, r *upload.Report, status int) (line map[string]any, events []sentrytest.Event, metrics []string) {
	t.Helper()
	reporter, server := newReporter(t)
	log, lines := newLog(t)
	m := telemetry.NewMetrics()
	uploadwatch.NewUploads(log, reporter, m, answered(status)).Ended(t.Context(), r)
	if !reporter.Close(flushTimeout) {
		t.Error("not everything was sent")
	}
	events, err := server.Wait(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	got := lines()
	if len(got) != 1 || got[0]["msg"] != "upload ended" {
		t.Fatalf("not one line for one upload: %v", got)
	}
	return got[0], events, metricstest.Scrape(t, m.Handler())
}

// What a service fails us with is reported once, however many uploads it fails; the log has each of them.
func TestOutagesAreReportedOnce(t *testing.T) {
	log, lines := newLog(t)
	reporter, server := newReporter(t)
	u := uploadwatch.NewUploads(log, reporter, telemetry.NewMetrics(), answered(500))
	refused := func(code string) error {
		return fmt.Errorf("put a.sym: %w", &upload.RefusedError{Code: code, Advice: "the rights", Err: errors.New("403")})
	}
	full, bug := fmt.Errorf("put a.sym: %w: 507", upload.ErrUnavailable), errors.New("a bug")
	for range 2 {
		for _, err := range []error{refused("AccessDenied"), full, refused("NoSuchBucket"), refused("AccessDenied"), bug} {
			u.Ended(t.Context(), report(upload.Failed, err))
		}
	}
	if !reporter.Close(flushTimeout) {
		t.Error("not everything was sent")
	}
	events, err := server.Wait(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []sentrytest.Exception
	for _, e := range events {
		got = append(got, e.Exception...)
	}
	want := []sentrytest.Exception{
		{Type: "storage refuses: AccessDenied", Value: "put a.sym: refused with AccessDenied (look at the rights): 403"},
		{Type: "upload failed in publish: backing service unavailable", Value: "put a.sym: backing service unavailable: 507"},
		{Type: "storage refuses: NoSuchBucket", Value: "put a.sym: refused with NoSuchBucket (look at the rights): 403"},
		{Type: "upload failed in publish", Value: "a bug"},
		{Type: "upload failed in publish", Value: "a bug"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events: %s", diff)
	}
	if n := len(lines()); n != 10 {
		t.Errorf("%d lines; want 10", n)
	}
}

// explained is what every report of this test is to say.
func explained(outcome upload.Outcome, status int, err string) map[string]any {
	facts := map[string]any{
		"upload": 7.0, "tenant": 3.0, "label": "linux", "user": "ci@example.com", "filename": "symbols.zip", "try": true, "format": "zip",
		"declared": 3200.0, "bytes": 3000.0, "members": 6.0, "member_bytes": 6830.0, "stored_bytes": 2500.0,
		"uploaded": 2.0, "skipped": 1.0, "ignored": 1.0, "pending": 2.0,
		"extensions": map[string]any{
			".sym": map[string]any{"files": 2.0, "bytes": 5000.0}, ".pd_": map[string]any{"files": 1.0, "bytes": 1500.0},
			".dbg.gz": map[string]any{"files": 1.0, "bytes": 300.0}, "other": map[string]any{"files": 2.0, "bytes": 30.0},
		},
		"phases": map[string]any{"receive": 1.5, "verify": 1.0, "publish": 0.5}, "elapsed": 4.0,
		"outcome": string(outcome), "status": float64(status), "phase": "publish",
	}
	if err != "" {
		facts["err"] = err
	}
	return facts
}

func TestUploadsByURLTellWhereFrom(t *testing.T) {
	r := report(upload.Failed, errors.New("lost"))
	r.Upload.DownloadURL = "https://a.example.com/x.zip"
	r.Upload.RedirectURLs = []string{"https://b.example.com/x.zip", "https://b.example.com/y.zip"}
	line, events, _ := ended(t, r, 503)
	for key, want := range map[string]any{
		"download_url": "https://a.example.com/x.zip", "redirect_urls": "https://b.example.com/x.zip https://b.example.com/y.zip",
	} {
		if line[key] != want || len(events) != 1 || events[0].Contexts["facts"][key] != want {
			t.Errorf("%s: %v in the log, not %v; events: %v", key, line[key], want, events)
		}
	}
}

func TestUploadsTellTheSameEverywhere(t *testing.T) {
	cut := fmt.Errorf("put a.sym: %w: Put \"http://s3/b/a?X-Amz-Signature=hunter2\": EOF", upload.ErrUnavailable)
	const cutText = "put a.sym: backing service unavailable: Put \"http://s3/b/a?X-Amz-Signature=REDACTED\": EOF"
	tests := []struct {
		outcome upload.Outcome
		status  int
		err     error
		text    string // of the fact err
		level   string
		kind    string // of the event; "": none is due
	}{
		{upload.Completed, 201, nil, "", "INFO", ""},
		{upload.Rejected, 400, errors.New("a.sym: wrong CRC"), "a.sym: wrong CRC", "INFO", ""},
		{upload.Cancelled, 499, upload.ErrClientGone, "the client hung up", "INFO", ""},
		{upload.Interrupted, 503, upload.ErrShutdown, "the server is shutting down", "WARN", "upload interrupted in publish"},
		{upload.TimedOut, 504, upload.ErrDeadline, "the upload's deadline passed", "ERROR", "upload timed_out in publish"},
		{upload.Failed, 503, cut, cutText, "ERROR", "upload failed in publish: backing service unavailable"},
		{upload.Failed, 503, &upload.BusyError{Reason: "the disk is full"}, "the disk is full", "ERROR", "upload failed in publish: no room"},
		{upload.Failed, 500, nil, "for no reason given", "ERROR", "upload failed in publish"},
		{"", 500, errors.New("lost"), "lost", "WARN", "upload other in publish"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.outcome, tt.status), func(t *testing.T) {
			line, events, _ := ended(t, report(tt.outcome, tt.err), tt.status)
			if line["level"] != tt.level {
				t.Errorf("level %v instead of %s", line["level"], tt.level)
			}
			for _, key := range []string{"time", "level", "msg", "instance"} {
				delete(line, key)
			}
			want := explained(tt.outcome, tt.status, tt.text)
			if diff := cmp.Diff(want, line); diff != "" {
				t.Errorf("log: %s", diff)
			}
			if tt.kind == "" {
				if len(events) > 0 {
					t.Errorf("an event that is not due: %s", events[0].Raw)
				}
				return
			}
			if len(events) != 1 {
				t.Fatalf("%d events", len(events))
			}
			event := events[0]
			if diff := cmp.Diff(want, event.Contexts["facts"]); diff != "" {
				t.Errorf("event: %s", diff)
			}
			if diff := cmp.Diff([]sentrytest.Exception{{Type: tt.kind, Value: tt.text}}, event.Exception); diff != "" {
				t.Errorf("exception: %s", diff)
			}
			if event.Tags["upload"] != "7" || event.Tags["tenant"] != "3" || strings.Contains(string(event.Raw), "hunter2") {
				t.Errorf("%s", event.Raw)
			}
		})
	}
}

func TestUploadsReportPanics(t *testing.T) {
	r := report(upload.Failed, errors.New("panic: boom"))
	func() {
		defer func() { _, r.Stack = recover(), debug.Stack() }()
		explode()
	}()
	line, events, _ := ended(t, r, 500)
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	if diff := cmp.Diff(explained(upload.Failed, 500, "panic: boom"), events[0].Contexts["facts"]); diff != "" {
		t.Error(diff)
	}
	exception := events[0].Exception[0]
	frames := exception.Stacktrace.Frames
	if exception.Type != "upload panicked in publish" || len(frames) == 0 || frames[len(frames)-1].Function != "explode" {
		t.Errorf("%+v", exception)
	}
	if stack, _ := line["stack"].(string); line["level"] != "ERROR" || !strings.Contains(stack, "explode") {
		t.Errorf("%v", line)
	}
}

func TestUploadsCount(t *testing.T) {
	_, _, lines := ended(t, report(upload.TimedOut, context.DeadlineExceeded), 504)
	for series, want := range map[string]string{
		`tecken_uploads_total{outcome="timed_out"}`:                       "1",
		`tecken_uploads_total{outcome="completed"}`:                       "0",
		`tecken_upload_bytes_total`:                                       "3000",
		`tecken_upload_size_bytes_sum`:                                    "3000",
		`tecken_stored_bytes_total`:                                       "2500",
		`tecken_upload_duration_seconds_sum{phase="receive"}`:             "1.5",
		`tecken_upload_duration_seconds_bucket{phase="record",le="+Inf"}`: "0",
		`tecken_upload_duration_seconds_bucket{phase="verify",le="300"}`:  "1",
		`tecken_files_total{extension=".sym",state="uploaded"}`:           "1",
		`tecken_file_bytes_total{extension=".sym",state="skipped"}`:       "500",
		`tecken_file_bytes_total{extension=".dbg.gz",state="pending"}`:    "300",
		`tecken_files_total{extension="other",state="ignored"}`:           "1",
	} {
		if got := metricstest.Sample(lines, series); got != want {
			t.Errorf("%s is %q, not %s", series, got, want)
		}
	}
}

// TestMetricsAreBounded feeds the metrics with whatever a client could choose.
func TestMetricsAreBounded(t *testing.T) {
	m := telemetry.NewMetrics()
	u := uploadwatch.NewUploads(slog.New(slog.DiscardHandler), &telemetry.Reporter{}, m, answered(200))
	if got := metricstest.Sample(metricstest.Scrape(t, m.Handler()), `tecken_uploads_total{outcome="failed"}`); got != "0" {
		t.Error("an outcome that has not happened is missing: no rate can rise from it")
	}
	for i := range 500 {
		u.Ended(t.Context(), &upload.Report{
			Upload: upload.Upload{
				Outcome: upload.Outcome(fmt.Sprint("outcome", i)), Phase: upload.Phase(fmt.Sprint("phase", i)), Filename: fmt.Sprint("f", i), TokenID: int64(i), Size: -1,
				Files: []upload.File{
					{Name: fmt.Sprintf("a/b/c.ext%d", i), State: upload.FileState(fmt.Sprint("state", i)), Size: -1, StoredSize: -1},
					{Name: fmt.Sprintf("a/b/%d.SYM", i), Key: symbol.Key{}, State: upload.FileUploaded, Size: 1},
				},
			},
			Phases: map[upload.Phase]time.Duration{upload.Phase(fmt.Sprint("phase", i)): time.Second},
		})
	}
	for i := range 500 {
		u.EndLost(t.Context(), &upload.Upload{ID: int64(i)}, upload.Loss(fmt.Sprint("loss", i)), errors.New("lost"))
	}
	labels := map[string]int{"reason": 5, "outcome": 7, "phase": 5, "state": 5, "extension": 10, "le": 20}
	if n := metricstest.Check(t, metricstest.Scrape(t, m.Handler()), labels); n < 20 {
		t.Errorf("only %d series", n)
	}
}

// A workspace that stays behind is reported beside its upload, to Sentry once.
func TestLeftovers(t *testing.T) {
	reporter, server := newReporter(t)
	log, lines := newLog(t)
	u := uploadwatch.NewUploads(log, reporter, telemetry.NewMetrics(), answered(201))
	for range 2 {
		r := report(upload.Completed, nil)
		r.Leftover = errors.New("unlink x: input/output error")
		u.Ended(t.Context(), r)
	}
	if !reporter.Close(flushTimeout) {
		t.Error("not everything was sent")
	}
	events, err := server.Wait(t.Context(), 1)
	if err != nil || len(events) != 1 || events[0].Exception[0].Value != "unlink x: input/output error" {
		t.Errorf("events %+v: %v", events, err)
	}
	got := lines()
	if len(got) != 4 || got[1]["msg"] != "workspace of an upload not removed" || got[1]["upload"] != 7.0 || got[1]["err"] == nil {
		t.Errorf("lines %v", got)
	}
}

// An end that is lost is reported everywhere, with what is left of it.
func TestEndLost(t *testing.T) {
	reporter, server := newReporter(t)
	log, lines := newLog(t)
	m := telemetry.NewMetrics()
	r := report(upload.Completed, nil)
	uploadwatch.NewUploads(log, reporter, m, answered(503)).EndLost(t.Context(), &r.Upload, upload.LostRecord, errors.New("finish upload 7: not found"))
	if !reporter.Close(flushTimeout) {
		t.Error("not everything was sent")
	}
	events, err := server.Wait(t.Context(), 1)
	if err != nil || len(events) != 1 || len(lines()) != 1 {
		t.Fatalf("%d events, lines %v: %v", len(events), lines(), err)
	}
	want := map[string]any{
		"upload": 7.0, "tenant": 3.0, "label": "linux", "user": "ci@example.com", "outcome": "completed", "bytes": 3000.0, "members": 6.0,
		"reason": "gone", "err": "finish upload 7: not found",
	}
	line := lines()[0]
	for _, key := range []string{"time", "level", "msg", "instance"} {
		delete(line, key)
	}
	for where, facts := range map[string]map[string]any{"log": line, "event": events[0].Contexts["facts"]} {
		if diff := cmp.Diff(want, facts); diff != "" {
			t.Errorf("%s: %s", where, diff)
		}
	}
	if kind := events[0].Exception[0].Type; kind != "end of an upload not recorded: gone" {
		t.Errorf("the event is %q", kind)
	}
	scraped := metricstest.Scrape(t, m.Handler())
	for reason, want := range map[string]string{"gone": "1", "refused": "0", "memory": "0", "time": "0"} {
		if got := metricstest.Sample(scraped, fmt.Sprintf("tecken_upload_ends_lost_total{reason=%q}", reason)); got != want {
			t.Errorf("%s: %q are counted, not %s", reason, got, want)
		}
	}
}

func TestExtension(t *testing.T) {
	for name, want := range map[string]string{
		"a/1/a.sym": ".sym", "a/1/A.SYM": ".sym", "x.pdb": ".pdb", "x.dll": ".dll", "x.exe": ".exe", "x.pd_": ".pd_",
		"x.dl_": ".dl_", "x.ex_": ".ex_", "x.dbg.gz": ".dbg.gz", "x.gz": "other", "x.tar.bz2": ".tar.bz2",
		"": "other", "sym": "other", "a.sym/1/a": "other", "\x00": "other", "a.sym\n": "other",
	} {
		if got := uploadwatch.Extension(name); got != want {
			t.Errorf("%q is %s, not %s", name, got, want)
		}
	}
}
