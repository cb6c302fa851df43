package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/telemetry"
)

// newLog returns a logger and a function that reads its lines so far.
func newLog(t *testing.T, level string) (*slog.Logger, func() []map[string]any) {
	t.Helper()
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, level, "i-1")
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

func TestLoggerWritesPlainJSON(t *testing.T) {
	log, lines := newLog(t, "info")
	zone := time.FixedZone("", 3600)
	log.Warn("something happened",
		"elapsed", 1500*time.Millisecond,
		"since", time.Date(2026, 1, 2, 3, 4, 5, 0, zone),
		"err", errors.New("put k?X-Amz-Signature=hunter2: EOF"),
		slog.Group("nested", "url", "postgres://u:hunter2@h/d", "n", uint64(7)),
		"token", "hunter2", "ratio", math.NaN(), "ok", true)
	log.Debug("not this")

	got := lines()
	if len(got) != 1 {
		t.Fatalf("%d lines", len(got))
	}
	at, err := time.Parse(time.RFC3339, got[0]["time"].(string))
	if err != nil || at.Location() != time.UTC || time.Since(at) > time.Minute {
		t.Errorf("time %v, %v", got[0]["time"], err)
	}
	delete(got[0], "time")
	want := map[string]any{
		"level": "WARN", "msg": "something happened", "instance": "i-1",
		"elapsed": 1.5, "since": "2026-01-02T02:04:05Z", "err": "put k?X-Amz-Signature=REDACTED: EOF",
		"nested": map[string]any{"url": "postgres://u:REDACTED@h/d", "n": 7.0},
		"token":  "REDACTED", "ratio": "NaN", "ok": true,
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
}

func TestLoggerLevels(t *testing.T) {
	for level, want := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1} {
		log, lines := newLog(t, level)
		log.Debug("m")
		log.Info("m")
		log.Warn("m")
		log.Error("m")
		if got := len(lines()); got != want {
			t.Errorf("%s: %d lines instead of %d", level, got, want)
		}
	}
	if _, err := telemetry.NewLogger(nil, "loud", "i-1"); err == nil || !strings.Contains(err.Error(), "loud") {
		t.Errorf("got %v", err)
	}
}
