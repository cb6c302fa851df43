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
	// migratePatience is for how long the server waits for its database before it listens: rather start a
	// little later than refuse the first uploads. A database that is down is not waited for.
	migratePatience = 2 * time.Second
	// secondSignal is after what time another signal counts as one: a terminal and a supervisor may each pass on what was
	// meant once. Rather make somebody press twice more than lose uploads.
	secondSignal = time.Second
	// stopGrace is for how long cancelled uploads may still record their ends and write their answers, and then work in the
	// background may still end.
	stopGrace = 15 * time.Second
	// flushTimeout bounds sending what is left to tell Sentry.
	flushTimeout = 2 * time.Second
	// metricsHeaderTimeout ends a connection to the metrics listener that sends no request.
	metricsHeaderTimeout = 10 * time.Second
)

// How the program ends that does not wait for what it began.
var (
	errStoppedAtOnce = errors.New("stopped at once by a second signal")
	errStillBusy     = errors.New("background work did not stop in time")
)

// serveCommand runs the server until a signal ends it.
type serveCommand struct {
	config.Server
}

// Validate is called by kong. It reports every fault of the settings.
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
	// Caught from here on, so that no signal finds the program half-built.
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
		return err // whatever is still busy must not keep the process from ending
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
	loop("late directories", in.openLate)
	loop("leases", func(ctx context.Context) error { in.leases.Run(ctx); return nil })
	loop("record expiry", in.expireRecords)
	loop("symbol expiry", in.expireSymbols)
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
	_ = metricsServer.Close() // nothing is under way there that anybody waits for
	if err != nil {
		_ = httpServer.Close()
		return err
	}
	return await(g)
}

// await waits for the work in the background, but not for a disk that hangs under it.
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

// migrate brings the database's schema up to date, however long that takes. Until then uploads are refused.
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

// indexRecords makes the index that the API of records looks for parts of keys by, once the schema is up to date.
func (in *instance) indexRecords(ctx context.Context, migrated <-chan struct{}) error {
	wait(ctx, migrated)
	return in.records.RunIndexing(ctx, in.fault("keys of files were not indexed"))
}

// foldRecords prepares the records of older versions for lookups of names in any case, once the schema is up to date.
func (in *instance) foldRecords(ctx context.Context, migrated <-chan struct{}) error {
	wait(ctx, migrated)
	return in.records.RunFolding(ctx, in.fault("names of older records were not folded"))
}

// recordProgress records how far uploads in flight are, and that this process lives.
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

// fault returns what is told of work in the background that failed.
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

// drain is the shutdown, from top to bottom: the heartbeat turns red, balancers get their time to see it,
// the listener closes, uploads in flight finish, what is left is cancelled.
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

// serve runs s until it is shut down, which is no error.
func serve(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// listeners are the two that a server has.
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
