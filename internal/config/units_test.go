package config_test

import (
	"encoding"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/config"
)

func TestUnits(t *testing.T) {
	tests := []struct {
		text string
		unit encoding.TextUnmarshaler
		want string // the value's text
	}{
		{"0", new(config.Size), "0B"},
		{"1", new(config.Size), "1B"},
		{"1023B", new(config.Size), "1023B"},
		{"1024", new(config.Size), "1KiB"},
		{"1536KiB", new(config.Size), "1536KiB"},
		{"2048MiB", new(config.Size), "2GiB"},
		{"2GiB", new(config.Size), "2GiB"},
		{"9223372036854775807", new(config.Size), "9223372036854775807B"},
		{"8589934591GiB", new(config.Size), "8589934591GiB"},
		{"32KiB/s", new(config.Rate), "32KiB/s"},
		{"0/s", new(config.Rate), "0B/s"},
		{"100B/s", new(config.Rate), "100B/s"},
		{"", new(config.List), ""},
		{" , ,", new(config.List), ""},
		{".sym", new(config.List), ".sym"},
		{" a, b ,c,,", new(config.List), "a,b,c"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if err := tt.unit.UnmarshalText([]byte(tt.text)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, fmt.Sprint(tt.unit)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLifetimes(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1d":    24 * time.Hour,
		"365d":  8760 * time.Hour,
		"36h":   36 * time.Hour,
		"1h30m": 90 * time.Minute,
	} {
		var got config.Lifetime
		if err := got.UnmarshalText([]byte(text)); err != nil {
			t.Error(err)
		}
		if time.Duration(got) != want {
			t.Errorf("%s is %v, not %v", text, time.Duration(got), want)
		}
	}
}

func TestMoments(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-01-31":                time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		"2026-01-31T12:00:00Z":      time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		"2026-01-31T12:00:00+02:00": time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC),
	} {
		var got config.Moment
		if err := got.UnmarshalText([]byte(text)); err != nil || !time.Time(got).Equal(want) {
			t.Errorf("%s is %v, %v; want %v", text, time.Time(got), err, want)
		}
	}
}

func TestUnitsRefuse(t *testing.T) {
	tests := []struct {
		unit encoding.TextUnmarshaler
		text string
		want string // a part of the error
	}{
		{new(config.Size), "", "not a whole number"},
		{new(config.Size), "GiB", "not a whole number"},
		{new(config.Size), "-1", "not a whole number"},
		{new(config.Size), "+1", "not a whole number"},
		{new(config.Size), "1.5GiB", "not a whole number"},
		{new(config.Size), "1 GiB", "not a whole number"},
		{new(config.Size), "1GB", "not a whole number"},
		{new(config.Size), "1gib", "not a whole number"},
		{new(config.Size), "1_000", "not a whole number"},
		{new(config.Size), "9223372036854775808", "too large"},
		{new(config.Size), "8589934592GiB", "too large"},
		{new(config.Rate), "32KiB", "does not end in /s"},
		{new(config.Rate), "/s", "not a whole number"},
		{new(config.Lifetime), "", "not a whole number"},
		{new(config.Lifetime), "d", "not a whole number"},
		{new(config.Lifetime), "1.5d", "not a whole number"},
		{new(config.Lifetime), "365", "not a whole number"},
		{new(config.Lifetime), "0d", "more than 0"},
		{new(config.Lifetime), "-1h", "more than 0"},
		{new(config.Lifetime), "106752d", "too large"},
		{new(config.Moment), "", "neither a day"},
		{new(config.Moment), "2026-02-30", "neither a day"},
		{new(config.Moment), "yesterday", "neither a day"},
		{new(config.Moment), "2026-01-31T12:00:00", "neither a day"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%T %s", tt.unit, tt.text), func(t *testing.T) {
			err := tt.unit.UnmarshalText([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error that says %q", err, tt.want)
			}
		})
	}
}
