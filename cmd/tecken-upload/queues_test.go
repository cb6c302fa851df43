package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/config"
	"tecken-upload/internal/sched"
)

// With too many runaways work is refused instead of kept waiting. That is an alarm all the same.
func TestAQueueThatHasStoppedIsAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &instance{config: &config.Server{StallAlarm: time.Minute}}
		publish := sched.New(sched.Options{Slots: 1, Runaways: 1, Lease: time.Second})
		in.queues = queues{
			verify:  queue{"verify", sched.New(sched.Options{})},
			publish: queue{"publish", publish},
			stream:  queue{"stream", sched.New(sched.Options{})},
			stage:   queue{"stage", sched.New(sched.Options{})},
		}
		slot, err := publish.Acquire(t.Context(), sched.Task{})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.checkQueue(context.Background()); err != nil {
			t.Errorf("while a task has its slot: %v", err)
		}
		<-time.After(2 * time.Second)
		if err := in.checkQueue(context.Background()); err == nil {
			t.Error("no alarm, and the queue has stopped")
		}
		slot.Release()
		if err := in.checkQueue(context.Background()); err != nil {
			t.Errorf("after it has ended: %v", err)
		}
	})
}
