package background

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// The pause before a loop continues after a panic, doubled each time up to the last. A loop that ran for longer than lastPause starts with
// the first again.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// A PanicError is a recovered panic.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

// Caught makes an error of recover's result. Call it where that was called.
func Caught(v any) *PanicError {
	if p, ok := v.(*PanicError); ok {
		return p // it was raised again
	}
	return &PanicError{Value: v, Stack: debug.Stack()}
}

// Error returns the panic's text.
func (p *PanicError) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Unwrap returns the panic's value, if that is an error.
func (p *PanicError) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// report receives panics without a waiting caller.
var report atomic.Pointer[func(name string, p *PanicError)]

// OnPanic sets the function that receives each panic without a waiting caller, with its goroutine's name. Several goroutines may call f at
// once. A nil f reports nothing.
func OnPanic(f func(name string, p *PanicError)) {
	if f == nil {
		report.Store(nil)
		return
	}
	report.Store(&f)
}

// Guard calls f and reports its panic. The name is from a few fixed texts.
func Guard(name string, f func()) {
	tell := report.Load()
	if tell == nil {
		f()
		return
	}
	defer func() {
		if v := recover(); v != nil {
			p := Caught(v)
			_ = Try(func() error { (*tell)(name, p); return nil }) // a panic of the report itself is dropped
		}
	}()
	f()
}

// Try calls f and returns its error, or a *PanicError.
func Try(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = Caught(v)
		}
	}()
	return f()
}

// Go calls f in a goroutine.
func Go(name string, f func()) {
	go Guard(name, f)
}

// After calls f in a goroutine after d, like time.AfterFunc.
func After(d time.Duration, name string, f func()) *time.Timer {
	return time.AfterFunc(d, func() { Guard(name, f) })
}

// AfterContext calls f in a goroutine once ctx has ended, like context.AfterFunc.
func AfterContext(ctx context.Context, name string, f func()) (stop func() bool) {
	return context.AfterFunc(ctx, func() { Guard(name, f) })
}

// Loop calls f, in the caller's goroutine, and returns its error. After a panic of f, which is reported, it pauses and calls f again, until
// ctx ends; then it returns nil.
func Loop(ctx context.Context, name string, f func(ctx context.Context) error) (err error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		began, panicked := time.Now(), true
		Guard(name, func() {
			err = f(ctx)
			panicked = false
		})
		if !panicked {
			return err
		}
		if time.Since(began) > lastPause {
			pause = firstPause
		}
		if Sleep(ctx, pause) != nil {
			return nil
		}
	}
}
