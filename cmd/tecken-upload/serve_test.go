package main

import (
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
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
