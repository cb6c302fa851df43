package web

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/background"
	"tecken-upload/internal/probe"
	"tecken-upload/internal/upload"
)

const (
	// checkTimeout bounds each check of a heartbeat, whatever it does.
	checkTimeout = 2 * time.Second
	// roundTimeout bounds all checks: they run at once.
	roundTimeout = 2 * checkTimeout
	// shareTime is how long a heartbeat's result is reused, so that a crowd of balancers is no load on what is checked.
	shareTime = 2 * time.Second
)

// A Check checks one thing the server depends on. It fails when uploads would fail.
type Check func(ctx context.Context) error

// heartbeat runs checks at once, and shares their results.
type heartbeat struct {
	logger     *slog.Logger
	checks     map[string]*probe.Probe[struct{}]
	failing    sync.Map                          // checks that failed last time, by name
	saturation func(ctx context.Context) float64 // may be nil
	rounds     *probe.Probe[round]
}

// round is the result of one run of all checks.
type round struct {
	checks     map[string]error
	saturation *float64 // 0 to 1, with two decimals; nil if unknown
}

func newHeartbeat(c *Config) *heartbeat {
	h := &heartbeat{logger: c.Exchange.Logger, saturation: c.Saturation, checks: make(map[string]*probe.Probe[struct{}])}
	for name, check := range c.Checks {
		h.checks[name] = probe.New(func(ctx context.Context) (struct{}, error) {
			return struct{}{}, check(ctx)
		}, probe.Options{Timeout: checkTimeout})
	}
	h.rounds = probe.New(h.look, probe.Options{Timeout: roundTimeout, Fresh: shareTime, Now: c.Exchange.Now})
	return h
}

// look runs every check, and takes the saturation.
func (h *heartbeat) look(ctx context.Context) (round, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	checks, ctx := background.NewGroup(ctx)
	var mu sync.Mutex
	r := round{checks: make(map[string]error, len(h.checks))}
	for name, check := range h.checks {
		checks.Go(func() error {
			_, err := check.Ask(ctx)
			mu.Lock()
			defer mu.Unlock()
			r.checks[name] = err
			h.log(ctx, name, err)
			return nil
		})
	}
	if h.saturation != nil {
		r.saturation = rounded(h.saturation(ctx))
	}
	return r, checks.Wait()
}

// log logs a check that begins to fail, and one that recovers.
func (h *heartbeat) log(ctx context.Context, name string, err error) {
	if err == nil {
		if _, failed := h.failing.LoadAndDelete(name); failed {
			h.logger.InfoContext(ctx, "heartbeat check is well again", "check", name)
		}
		return
	}
	if _, failed := h.failing.Swap(name, true); !failed {
		h.logger.WarnContext(ctx, "heartbeat check", "check", name, "err", err)
	}
}

// ask returns the result of a round, at most shareTime old. Without a result, nothing is known to work.
func (h *heartbeat) ask(ctx context.Context) (round, error) {
	r, err := h.rounds.Ask(ctx)
	if err == nil {
		return r, nil
	}
	if ctx.Err() == nil { // a client that hangs up is no fault
		h.logger.ErrorContext(ctx, "heartbeat", "err", err)
	}
	r.checks = make(map[string]error, len(h.checks))
	for name := range h.checks {
		r.checks[name] = err
	}
	return r, err
}

// status is a heartbeat's answer.
type status struct {
	Status     string            `json:"status"`
	Checks     map[string]string `json:"checks,omitempty"`
	Saturation *float64          `json:"saturation,omitempty"`
}

func word(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// errDiskFull turns the heartbeats red.
var errDiskFull = errors.New("the disk keeps filling up")

// unwanted returns why no traffic should come here, or nil.
func (s *Server) unwanted() error {
	switch {
	case s.draining.Load():
		return upload.ErrShutdown
	case s.config.Disk.Full():
		return errDiskFull
	case s.config.Misfit != nil:
		return s.config.Misfit()
	}
	return nil
}

// getLBHeartbeat says whether to send traffic here. It asks no backing service.
func (s *Server) getLBHeartbeat(c echo.Context) error {
	err := s.unwanted()
	s.Write(c, heartbeatCode(err), status{Status: word(err)})
	return nil
}

// getHeartbeat says whether everything that uploads need works.
func (s *Server) getHeartbeat(c echo.Context) error {
	failed := s.unwanted()
	checks := map[string]string{"disk": word(nil)}
	if errors.Is(failed, errDiskFull) {
		checks["disk"] = word(failed)
	}
	r, err := s.heartbeat.ask(c.Request().Context())
	if err != nil {
		failed = err
	}
	for name, err := range r.checks {
		checks[name] = word(err)
		if err != nil {
			failed = err
		}
	}
	s.Write(c, heartbeatCode(failed), status{Status: word(failed), Checks: checks, Saturation: r.saturation})
	return nil
}

// rounded returns the heartbeat's saturation. A busy server is healthy: it turns nothing red.
func rounded(ratio float64) *float64 {
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
