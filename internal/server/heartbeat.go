package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/upload"
)

const (
	// checkTimeout bounds each check of a heartbeat, whatever it does.
	checkTimeout = 2 * time.Second
	// shareTime is for how long a heartbeat's result answers further ones, so that a crowd of balancers is
	// no load on what is checked.
	shareTime = 2 * time.Second
)

// A Check looks at one thing the server depends on. It fails where uploads would fail.
type Check func(ctx context.Context) error

// heartbeat runs checks at once, and shares their results.
type heartbeat struct {
	logger *slog.Logger
	now    func() time.Time
	probes map[string]*probe

	mu    sync.Mutex // held while a round runs, so that others wait for its result
	last  map[string]error
	until time.Time
}

// probe is one check, and the call of it that is under way. A check that hangs is not called again.
type probe struct {
	check Check
	busy  chan struct{} // holds a token while a call is under way
}

func newHeartbeat(checks map[string]Check, logger *slog.Logger, now func() time.Time) *heartbeat {
	h := &heartbeat{logger: logger, now: now, probes: make(map[string]*probe)}
	for name, check := range checks {
		h.probes[name] = &probe{check: check, busy: make(chan struct{}, 1)}
	}
	return h
}

// results returns the outcome of every check, at most shareTime old.
func (h *heartbeat) results(ctx context.Context) map[string]error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != nil && h.now().Before(h.until) {
		return h.last
	}
	// The round belongs to all who wait for it, not to the request that happens to start it.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), checkTimeout, fmt.Errorf("no answer within %v", checkTimeout))
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	results := make(map[string]error, len(h.probes))
	for name, p := range h.probes {
		wg.Go(func() {
			err := p.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			results[name] = err
			if err != nil {
				h.logger.WarnContext(ctx, "heartbeat check", "check", name, "err", err)
			}
		})
	}
	wg.Wait()
	h.last, h.until = results, h.now().Add(shareTime)
	return results
}

// run calls the check and waits for it no longer than ctx.
func (p *probe) run(ctx context.Context) error {
	select {
	case p.busy <- struct{}{}:
	default:
		return errors.New("a call from before has not returned")
	}
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v", v)
			}
			<-p.busy // before the answer, after which the next call may come
			done <- err
		}()
		err = p.check(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// status is a heartbeat's answer.
type status struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks,omitempty"`
	// Saturation is 0 to 1, with two decimals; nil where nobody knows.
	Saturation *float64 `json:"saturation,omitempty"`
}

func word(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// errDiskFull turns the heartbeats red.
var errDiskFull = errors.New("the disk keeps filling up")

// unwanted tells why no traffic should come here, or nil.
func (s *Server) unwanted() error {
	switch {
	case s.draining.Load():
		return upload.ErrShutdown
	case s.Disk.Full():
		return errDiskFull
	}
	return nil
}

// getLBHeartbeat says whether to send traffic here. It touches no backing service.
func (s *Server) getLBHeartbeat(c echo.Context) error {
	err := s.unwanted()
	s.write(c, heartbeatCode(err), status{Status: word(err)})
	return nil
}

// getHeartbeat says whether everything that uploads depend on works.
func (s *Server) getHeartbeat(c echo.Context) error {
	failed := s.unwanted()
	checks := map[string]string{"disk": word(nil)}
	if errors.Is(failed, errDiskFull) {
		checks["disk"] = word(failed)
	}
	for name, err := range s.heartbeat.results(c.Request().Context()) {
		checks[name] = word(err)
		if err != nil {
			failed = err
		}
	}
	s.write(c, heartbeatCode(failed), status{Status: word(failed), Checks: checks, Saturation: s.saturation()})
	return nil
}

// saturation returns what the heartbeat tells of it. Being busy is no fault: it turns nothing red.
func (s *Server) saturation() *float64 {
	if s.Saturation == nil {
		return nil
	}
	ratio := s.Saturation()
	if math.IsNaN(ratio) {
		return nil
	}
	ratio = math.Round(100*max(0, min(1, ratio))) / 100
	return &ratio
}

func heartbeatCode(err error) int {
	if err != nil {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}
