package testenv

import (
	"testing"
	"time"
)

func TestScale(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0: time.Minute, quietWork / 2: time.Minute, quietWork: time.Minute, 3 * quietWork: 3 * time.Minute, 40 * quietWork: 40 * time.Minute,
	} {
		if got := scale(time.Minute, took); got != want {
			t.Errorf("a minute is %v where the work takes %v, want %v", got, took, want)
		}
	}
}

func TestSlack(t *testing.T) {
	if got := Slack(t, time.Second); got < time.Second {
		t.Errorf("a second is %v", got)
	}
}
