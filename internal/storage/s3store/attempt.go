package s3store

import (
	"context"
	"errors"
	"net/http"
	"sync"
)

// An attempt remembers how the last attempt of a call failed. The SDK forgets it when the call's context
// ends between two of them; but that a deadline passed says nothing of what storage did to make it pass.
type attempt struct {
	mu  sync.Mutex
	err error
}

type attemptKey struct{}

// remembering makes a context for one call.
func remembering(ctx context.Context) context.Context {
	return context.WithValue(ctx, attemptKey{}, new(attempt))
}

// noteAttempt notes what became of one request of the call that ctx belongs to.
func noteAttempt(ctx context.Context, resp *http.Response, err error) {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok || ctx.Err() != nil {
		return // a cancelled request is no fault of storage
	}
	if err == nil && resp.StatusCode >= http.StatusInternalServerError {
		err = errors.New("storage answered " + resp.Status)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

// lastAttempt returns how the last attempt failed, or nil.
func lastAttempt(ctx context.Context) error {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}
