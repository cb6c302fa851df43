package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/background"
)

// A Ctrl-C may reach the process twice: from its terminal, and from what supervises it.
func TestASignalIsAnotherOneWhenItComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		signals := make(chan os.Signal, 2)
		again := insisting(ctx, signals)
		expect := func(want bool) {
			t.Helper()
			synctest.Wait()
			select {
			case <-again:
				if !want {
					t.Error("taken for another signal")
				}
			default:
				if want {
					t.Error("not taken for another signal")
				}
			}
		}
		signals <- syscall.SIGTERM
		<-time.After(20 * time.Millisecond)
		signals <- syscall.SIGINT
		expect(false)
		<-time.After(secondSignal)
		expect(false)
		signals <- syscall.SIGINT
		expect(true)
	})
}

// All faults of the settings are reported at once.
func TestFaultsOfStorageAreToldWithTheOthers(t *testing.T) {
	code, _, stderr := command(t, map[string]string{"TECKEN_STORAGE_URL": "s3://b?foo=bar", "TECKEN_CPU_SLOTS": "0"}, "serve")
	for _, want := range []string{"TECKEN_CPU_SLOTS: is 0", `TECKEN_STORAGE_URL: "b" is not a bucket name`, `unknown parameter "foo"`} {
		if code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%d, without %q:\n%s", code, want, stderr)
		}
	}
}

// A disk that hangs under work in the background keeps no process from ending.
func TestWorkInTheBackgroundIsNotWaitedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for end, want := range map[time.Duration]error{time.Second: errors.ErrUnsupported, time.Hour: errStillBusy} {
			g, _ := background.NewGroup(t.Context())
			g.Go(func() error {
				<-time.After(end)
				return errors.ErrUnsupported
			})
			begin := time.Now()
			if err := await(g); !errors.Is(err, want) || time.Since(begin) > stopGrace {
				t.Errorf("work of %v: %v after %v, want %v", end, err, time.Since(begin), want)
			}
			_ = g.Wait() // the bubble is to be empty
		}
	})
}
