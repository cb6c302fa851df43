package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tecken-upload/internal/config"
	"tecken-upload/internal/janitor"
	"tecken-upload/internal/janitor/child"
	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/telemetry/metricstest"
	"tecken-upload/internal/testenv"
)

// testManager is a manager with defaults, except for its sweeps.
func testManager(t *testing.T, log io.Writer, sweep func(context.Context) outcome) *manager {
	t.Helper()
	var c cli
	if _, err := config.Parse(&c, "disk-manager", nil, environment("TECKEN_INSTANCE=i-1"), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	said := telemetry.NewLines(log)
	t.Cleanup(func() { said.Close(patience) })
	w, err := newWatch(&c.settings, said)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return &manager{settings: &c.settings, watch: w, sweep: sweep}
}

// takes is a sweep of that duration.
func takes(d time.Duration, o outcome) func(context.Context) outcome {
	return func(context.Context) outcome {
		<-time.After(d)
		return o
	}
}

// play lets a manager sweep as the steps say, and then stops it. It returns the start of each, and the log.
func play(t *testing.T, steps ...func(context.Context) outcome) (at []time.Duration, log []line, m *manager) {
	t.Helper()
	var text bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	m = testManager(t, &text, func(ctx context.Context) outcome {
		at = append(at, time.Since(began))
		step := steps[len(at)-1]
		if len(at) == len(steps) {
			defer cancel()
		}
		return step(ctx)
	})
	m.loop(ctx)
	return at, sweeps(lines(t, &text)), m
}

// TestLoopSurvives: after any result of a sweep, the next follows an interval after its end.
func TestLoopSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		died := outcome{result: resultDied, kind: "sweep killed: killed", err: errors.New("signal: killed"), status: "signal: killed", stderr: "why"}
		at, got, _ := play(t,
			func(context.Context) outcome { panic("out of luck") },
			takes(4*time.Minute, outcome{result: resultTimedOut, kind: "sweep timed out", err: errTimeout}),
			takes(time.Second, died),
			takes(0, outcome{result: resultFailed, kind: "spool missing", err: errors.New("gone")}),
			takes(0, outcome{result: resultOK, report: janitor.Report{Found: 2, Reclaimed: 1}}),
		)
		const minute = time.Minute
		if diff := cmp.Diff([]time.Duration{0, minute, 6 * minute, 7*minute + time.Second, 8*minute + time.Second}, at); diff != "" {
			t.Errorf("sweeps began at: %s", diff)
		}
		want := []line{
			{Level: "ERROR", Outcome: "died", Err: "panic: out of luck"},
			{Level: "ERROR", Outcome: "timed_out", Err: errTimeout.Error()},
			{Level: "ERROR", Outcome: "died", Err: "signal: killed", Exit: "signal: killed", Stderr: "why"},
			{Level: "WARN", Outcome: "failed", Err: "gone"},
			{Level: "INFO", Outcome: "ok", Found: 2, Reclaimed: 1},
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(line{}, "Msg", "Stack")); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(got[0].Stack, "TestLoopSurvives") {
			t.Errorf("stack: %s", got[0].Stack)
		}
	})
}

// TestLoopOnlyReports after two children that can't be killed, until one of them has ended after all.
func TestLoopOnlyReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := make(chan struct{}), make(chan struct{})
		stuck := func(ended <-chan struct{}) func(context.Context) outcome {
			return takes(0, outcome{result: resultGivenUp, kind: "sweep can't be killed", err: errors.New("stuck"), givenUp: ended})
		}
		time.AfterFunc(270*time.Second, func() { close(second) })
		defer close(first)
		at, got, m := play(t, stuck(first), stuck(second), takes(0, outcome{result: resultOK}))
		if diff := cmp.Diff([]time.Duration{0, time.Minute, 5 * time.Minute}, at); diff != "" {
			t.Errorf("sweeps began at: %s", diff)
		}
		var results []string
		for _, l := range got {
			results = append(results, l.Level+" "+l.Outcome)
		}
		want := []string{"ERROR given_up", "ERROR given_up", "ERROR suspended", "ERROR suspended", "ERROR suspended", "INFO ok"}
		if diff := cmp.Diff(want, results); diff != "" {
			t.Error(diff)
		}
		scraped := metricstest.Scrape(t, m.watch.metrics.Handler())
		for series, want := range map[string]string{
			"tecken_janitor_given_up_total": "2", "tecken_janitor_stuck": "1",
			`tecken_janitor_sweeps_total{result="suspended"}`: "3", "tecken_janitor_sweep_duration_seconds_count": "3",
		} {
			if got := metricstest.Sample(scraped, series); got != want {
				t.Errorf("%s is %q, not %s", series, got, want)
			}
		}
	})
}

// TestStoppingIsNoFailure of the sweep in progress.
func TestStoppingIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		m := testManager(t, &text, func(ctx context.Context) outcome {
			<-ctx.Done()
			return outcome{result: resultFailed, kind: "sweep interrupted", err: context.Canceled}
		})
		time.AfterFunc(time.Second, cancel)
		m.loop(ctx)
		got := sweeps(lines(t, &text))
		if len(got) != 1 || got[0].Level != "WARN" || got[0].Outcome != "interrupted" {
			t.Errorf("%+v", got)
		}
		if n := metricstest.Sample(metricstest.Scrape(t, m.watch.metrics.Handler()), "tecken_janitor_errors_total"); n != "0" {
			t.Errorf("%s errors", n)
		}
	})
}

func TestJudge(t *testing.T) {
	report := &janitor.Report{Found: 3}
	failures := &janitor.Report{Found: 3, Failed: 2}
	failed := errors.New("exit status 1")
	for name, tt := range map[string]struct {
		child child.Result
		said  janitor.Message
		want  result
		kind  string
		err   bool
	}{
		"well":         {child.Result{Status: "exit status 0"}, janitor.Message{Report: report}, resultOK, "", false},
		"incomplete":   {child.Result{Status: "exit status 1", Err: failed}, janitor.Message{Report: failures}, resultIncomplete, "", false},
		"no spool":     {child.Result{Status: "exit status 1", Err: failed}, janitor.Message{Report: report, Kind: "spool missing", Err: "x"}, resultFailed, "spool missing", true},
		"panicked":     {child.Result{Status: "exit status 2", Err: failed}, janitor.Message{}, resultDied, "sweep died: exit status 2", true},
		"silent":       {child.Result{Status: "exit status 0"}, janitor.Message{}, resultDied, "sweep died: exit status 0", true},
		"killed":       {child.Result{Status: "signal: killed", Err: failed, Signal: syscall.SIGKILL}, janitor.Message{}, resultDied, "sweep killed: killed", true},
		"killed late":  {child.Result{Status: "signal: killed", Err: failed, Signal: syscall.SIGKILL}, janitor.Message{Report: report}, resultDied, "sweep killed: killed", true},
		"out of time":  {child.Result{Status: "exit status 1", Err: failed, TimedOut: true}, janitor.Message{Report: report, Kind: "sweep interrupted", Err: "x"}, resultTimedOut, "sweep timed out", true},
		"stuck":        {child.Result{Err: failed, TimedOut: true, GivenUp: make(chan struct{})}, janitor.Message{}, resultGivenUp, "sweep can't be killed", true},
		"no processes": {child.Result{Err: syscall.EAGAIN}, janitor.Message{}, resultDied, "sweep not started", true},
	} {
		t.Run(name, func(t *testing.T) {
			o := judge(tt.child, tt.said)
			if o.result != tt.want || o.kind != tt.kind || (o.err != nil) != tt.err || (o.givenUp != nil) != (tt.want == resultGivenUp) {
				t.Errorf("%+v", o)
			}
			if tt.said.Report != nil && o.report.Found != 3 {
				t.Errorf("its report was lost: %+v", o.report)
			}
		})
	}
}

func TestSlug(t *testing.T) {
	for name, want := range map[string]string{
		"disk-manager-i-1":                         "disk-manager-i-1",
		"disk-manager-web.1.Example.COM":           "disk-manager-web-1-example-com",
		"disk-manager-" + strings.Repeat("é", 100): "disk-manager--",
		"disk-manager-" + strings.Repeat("x", 100): "disk-manager-" + strings.Repeat("x", 37),
	} {
		if got := slug(name); got != want {
			t.Errorf("%s is %s, not %s", name, got, want)
		}
	}
}

// Every metric of the disk manager in the manual and the alerts exists.
func TestTheMetricsOfTheManual(t *testing.T) {
	said := telemetry.NewLines(io.Discard)
	defer said.Close(patience)
	scraped := strings.Join(metricstest.Scrape(t, newMetrics(said).Handler()), "\n")
	for _, path := range []string{"docs/operations.md", "deploy/alerts.yaml"} {
		text, err := os.ReadFile(filepath.Join(testenv.Root(t), path))
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`tecken_janitor_[a-z_]+`).FindAllString(string(text), -1)
		if len(names) == 0 {
			t.Errorf("%s names no metric", path)
		}
		for _, name := range names {
			if !regexp.MustCompile(`(?m)^` + name + `[ {]`).MatchString(scraped) {
				t.Errorf("%s: no metric %s", path, name)
			}
		}
	}
}

// TestMetrics: all exist from the start, with proper names and labels of fixed sets.
func TestMetrics(t *testing.T) {
	said := telemetry.NewLines(io.Discard)
	defer said.Close(patience)
	m := newMetrics(said)
	for _, r := range results() {
		m.swept(outcome{
			result: r, err: errors.New("x"), elapsed: time.Second,
			report: janitor.Report{Found: 7, Reclaimed: 5, Workspaces: 2, Freed: 100, Failed: 1, Live: 3, OldestLive: time.Minute, OldestLeft: time.Hour},
		}, 1)
	}
	scraped := metricstest.Scrape(t, m.Handler())
	metricstest.Check(t, scraped, map[string]int{"result": 8, "kind": 2, "owner": 2, "le": 12})
	for series, want := range map[string]string{
		`tecken_janitor_sweeps_total{result="timed_out"}`:       "1",
		`tecken_janitor_reclaimed_total{kind="workspace"}`:      "14",
		`tecken_janitor_reclaimed_total{kind="stray"}`:          "21",
		"tecken_janitor_freed_bytes_total":                      "700",
		"tecken_janitor_errors_total":                           "15",
		"tecken_janitor_sweep_duration_seconds_sum":             "7",
		"tecken_janitor_orphans":                                "7",
		"tecken_janitor_live_workspaces":                        "3",
		`tecken_janitor_oldest_workspace_seconds{owner="live"}`: "60",
		`tecken_janitor_oldest_workspace_seconds{owner="none"}`: "3600",
	} {
		if got := metricstest.Sample(scraped, series); got != want {
			t.Errorf("%s is %q, not %s", series, got, want)
		}
	}
}
