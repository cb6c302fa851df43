package s3store

import (
	"context"
	"errors"
	"net/http"
	"sync"
)

// An attempt keeps the error of a call's last attempt. The SDK drops it when the call's context ends between two attempts, but "deadline
// passed" hides what storage did.
type attempt struct {
	mu  sync.Mutex
	err error
}

type attemptKey struct{}

// remembering returns a context for one call.
func remembering(ctx context.Context) context.Context {
	return context.WithValue(ctx, attemptKey{}, new(attempt))
}

// noteAttempt records the result of one request of ctx's call.
func noteAttempt(ctx context.Context, resp *http.Response, err error) {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok || ctx.Err() != nil {
		return // storage is not at fault for a cancelled request
	}
	if err == nil && resp.StatusCode >= http.StatusInternalServerError {
		err = errors.New("storage answered " + resp.Status)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

// lastAttempt returns the last attempt's error, or nil.
func lastAttempt(ctx context.Context) error {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}
