package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/config"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/telemetry"
)

// What we would rather lose.
const (
	// migratePatience is how long the server waits for its database before it listens: we would rather start a little later than refuse the
	// first uploads. It does not wait for a database that is down.
	migratePatience = 2 * time.Second
	// secondSignal is the time after which another signal counts: a terminal and a supervisor may each pass on the same one. We would
	// rather need a third signal than lose uploads.
	secondSignal = time.Second
	// stopGrace is the time for cancelled uploads to record their ends and write their answers, and then for background work to end.
	stopGrace = 15 * time.Second
	// flushTimeout bounds the sending of the last events to Sentry.
	flushTimeout = 2 * time.Second
	// metricsHeaderTimeout ends a connection to the metrics listener without a request.
	metricsHeaderTimeout = 10 * time.Second
)

// Ends of the program without waiting for its work.
var (
	errStoppedAtOnce = errors.New("stopped at once by a second signal")
	errStillBusy     = errors.New("background work did not stop in time")
)

// serveCommand runs the server until a signal ends it.
type serveCommand struct {
	config.Server
}

// Validate is called by kong. It reports all faults of the settings.
func (c *serveCommand) Validate() error {
	_, err := storage.ParseURL(c.StorageURL)
	if err != nil {
		err = fmt.Errorf("TECKEN_STORAGE_URL: %w", err)
	}
	return errors.Join(c.Server.Validate(), err)
}

// Run is called by kong.
func (c *serveCommand) Run(p *process) error {
	telemetry.SurviveReaders()
	// Signals are caught from here on, so that none finds the program half-built.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	in, err := newInstance(ctx, &c.Server, p.stderr)
	if err != nil {
		return err
	}
	err = in.run(ctx, signals)
	if errors.Is(err, errStoppedAtOnce) || errors.Is(err, errStillBusy) {
		return err // busy work must not keep the process from ending
	}
	in.close()
	return err
}

// run serves until ctx ends or a signal comes, then drains. A second signal ends it at once, unless it comes with the first.
func (in *instance) run(ctx context.Context, signals <-chan os.Signal) error {
	working, stopWork := context.WithCancel(ctx)
	defer stopWork()
	g, failed := background.NewGroup(working)
	loop := func(name string, f func(context.Context) error) {
		g.Go(func() error { return background.Loop(working, name, f) })
	}
	migrated := make(chan struct{})
	loop("migration", func(ctx context.Context) error {
		err := in.migrate(ctx)
		close(migrated)
		return err
	})
	select {
	case <-migrated:
	case <-time.After(migratePatience):
	}
	listener, err := in.listen(ctx)
	if err != nil {
		return err
	}
	httpServer, metricsServer := in.server.HTTPServer(), in.metricsServer()
	loop("indexing", func(ctx context.Context) error { return in.indexRecords(ctx, migrated) })
	loop("folding", func(ctx context.Context) error { return in.foldRecords(ctx, migrated) })
	loop("unrecorded ends", in.uploads.Settle)
	loop("upload progress", in.recordProgress)
	loop("queue watch", in.watchQueues)
	loop("spool watch", in.watchSpool)
	loop("late directories", in.late.Retry)
	loop("leases", func(ctx context.Context) error { in.leases.Run(ctx); return nil })
	loop("record expiry", in.expireRecords)
	loop("symbol expiry", in.expireSymbols)
	loop("storage sweep", in.sweepStorage)
	g.Go(func() error { return serve(httpServer, in.headers.Guard(httpServer, listener.http)) })
	g.Go(func() error { return serve(metricsServer, in.headers.Guard(metricsServer, listener.metrics)) })
	in.logger.Info("serving", "address", listener.http.Addr().String(), "metrics", listener.metrics.Addr().String())

	select {
	case s := <-signals:
		in.logger.Info("draining", "signal", s.String())
	case <-ctx.Done():
		in.logger.Info("draining")
	case <-failed.Done():
		in.logger.Error("draining", "err", context.Cause(failed))
	}
	err = in.drain(context.WithoutCancel(ctx), httpServer, insisting(working, signals))
	stopWork()
	_ = metricsServer.Close() // no request there matters
	if errors.Is(err, errStoppedAtOnce) {
		_ = httpServer.Close()
		return err
	}
	if err != nil {
		_ = httpServer.Close()
	}
	return errors.Join(err, await(g)) // ends that wait to be recorded have their last try, even now
}

// await waits for the background work, but not for a hung disk below it.
func await(g *background.Group) error {
	ended := make(chan error, 1)
	background.Go("end", func() { ended <- g.Wait() })
	select {
	case err := <-ended:
		return err
	case <-time.After(stopGrace):
		return errStillBusy
	}
}

// migrate brings the database's schema up to date, without a time limit. Until then uploads are refused.
func (in *instance) migrate(ctx context.Context) error {
	fault := in.fault("the database's schema can't be used: the heartbeats are red")
	err := in.records.Run(ctx, fault)
	if err == nil {
		err = in.lookups.Run(ctx, fault)
	}
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// indexRecords makes the trigram index of keys, once the schema is up to date.
func (in *instance) indexRecords(ctx context.Context, migrated <-chan struct{}) error {
	wait(ctx, migrated)
	return in.records.RunIndexing(ctx, in.fault("keys of files were not indexed"))
}

// foldRecords folds names in older records for lookups in any case, once the schema is up to date.
func (in *instance) foldRecords(ctx context.Context, migrated <-chan struct{}) error {
	wait(ctx, migrated)
	return in.records.RunFolding(ctx, in.fault("names of older records were not folded"))
}

// recordProgress records the progress of uploads in flight, and that this process lives.
func (in *instance) recordProgress(ctx context.Context) error {
	return in.uploads.RecordProgress(ctx, func(err error) {
		in.logger.Warn("progress of uploads not recorded: other instances take them for lost after TECKEN_TENANT_STALE", "err", err)
	})
}

// wait waits until the schema is up to date, or ctx ends.
func wait(ctx context.Context, migrated <-chan struct{}) {
	select {
	case <-migrated:
	case <-ctx.Done():
	}
}

// fault returns a function that reports a failure of background work.
func (in *instance) fault(what string) func(error) {
	return func(err error) {
		in.logger.Error(what, "err", err)
		in.reporter.Error(what, err)
	}
}

// insisting returns a channel that is closed at a signal that comes secondSignal from now or later.
func insisting(ctx context.Context, signals <-chan os.Signal) <-chan struct{} {
	again := make(chan struct{})
	begin := time.Now()
	background.Go("signals", func() {
		for {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			if time.Since(begin) >= secondSignal {
				close(again)
				return
			}
		}
	})
	return again
}

// drain is the shutdown, from top to bottom: the heartbeat turns red, balancers get time to see it, the listener closes, uploads in flight
// finish, the rest is cancelled.
func (in *instance) drain(ctx context.Context, s *http.Server, again <-chan struct{}) error {
	in.server.Drain()
	select {
	case <-time.After(in.config.ShutdownDelay):
	case <-again:
		return errStoppedAtOnce
	}
	in.server.Refuse()
	stop := background.After(in.config.ShutdownTimeout, "shutdown", func() {
		in.logger.Warn("cancelling uploads in flight", "timeout", in.config.ShutdownTimeout)
		in.server.Stop()
	})
	defer stop.Stop()
	ctx, cancel := context.WithTimeout(ctx, in.config.ShutdownTimeout+stopGrace)
	defer cancel()
	done := make(chan error, 1)
	background.Go("shutdown", func() {
		err := s.Shutdown(ctx)
		if err == nil {
			err = in.uploads.Wait(ctx)
		}
		if err == nil {
			in.server.Wait()
		}
		done <- err
	})
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("shut down: %w", err)
		}
		in.logger.Info("drained")
		return nil
	case <-again:
		return errStoppedAtOnce
	}
}

// serve runs s until its shutdown, which is no error.
func serve(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// listeners are a server's two listeners.
type listeners struct {
	http, metrics net.Listener
}

func (in *instance) listen(ctx context.Context) (l listeners, err error) {
	var lc net.ListenConfig
	if l.http, err = lc.Listen(ctx, "tcp", in.config.Listen); err != nil {
		return l, fmt.Errorf("listen to clients: %w", err)
	}
	if l.metrics, err = lc.Listen(ctx, "tcp", in.config.MetricsListen); err != nil {
		return l, errors.Join(fmt.Errorf("listen to metrics: %w", err), l.http.Close())
	}
	return l, nil
}

func (in *instance) metricsServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", in.metrics.Handler())
	mux.Handle("GET /leases", leasesHandler(in.leases, in.config.TenantUploads))
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: metricsHeaderTimeout,
		ErrorLog:          slog.NewLogLogger(in.logger.Handler(), slog.LevelWarn),
	}
}
