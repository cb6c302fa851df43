package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"tecken-upload/internal/archive"
	"tecken-upload/internal/config"
	"tecken-upload/internal/gate"
	"tecken-upload/internal/headers"
	"tecken-upload/internal/health"
	"tecken-upload/internal/lease"
	"tecken-upload/internal/lease/redislease"
	"tecken-upload/internal/probe"
	"tecken-upload/internal/record"
	"tecken-upload/internal/sched"
	"tecken-upload/internal/spool"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/dirstore"
	"tecken-upload/internal/storage/s3store"
	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
	"tecken-upload/internal/web/exchange"
	"tecken-upload/internal/web/records"
	"tecken-upload/internal/web/symbols"
	"tecken-upload/internal/web/uploads"
)

const (
	// publishFactor times the storage slots is the number of members of one upload in publishing at once, waiting ones included: one upload
	// can fill every slot by itself, and always has the next one ready.
	publishFactor = 2
	// minInodes is the headroom of inodes: one upload needs a handful.
	minInodes = 64
	// leastSpoolWait is the least wait of a workspace for room: bytes that the file system is just being asked for count twice for a
	// moment.
	leastSpoolWait = time.Second
	// spareConns are the connections to storage besides those of all possible slots: for health checks.
	spareConns = 4
)

// instance is one server with everything that belongs to it.
type instance struct {
	config   *config.Server
	logger   *slog.Logger
	metrics  *telemetry.Metrics
	reporter *telemetry.Reporter
	records  *record.Store
	lookups  *record.Store // the same records, over lookups' own connections
	late     health.Late
	spool    health.LateSpool
	usage    *probe.Probe[spool.Usage]   // of the spool
	orphan   *probe.Probe[time.Duration] // the oldest one in it
	storage  checkedStorage
	swept    atomic.Int64  // what sweeps of storage have discarded
	s3Clock  s3store.Clock // measured by uploads and lookups; unused for directory storage
	disks    *health.Disks
	writes   writes
	// Proofs that uploads can be recorded, and stored.
	recordsProof, storageProof *health.Proof

	uploads *upload.Service
	queues  queues
	redis   *redislease.Table // nil: limits are this process's own
	leases  *lease.Keeper
	gate    *gate.Gate
	server  *web.Server
	headers headers.Budget

	downloads downloads
}

// newInstance builds an instance. It waits for no backing service: what is down may come up later.
func newInstance(ctx context.Context, c *config.Server, lines *telemetry.Lines) (in *instance, err error) {
	in = &instance{config: c}
	defer func() {
		if err != nil {
			in.close()
			in = nil
		}
	}()
	if err := in.observe(lines); err != nil {
		return in, err
	}
	if err = in.openRecords(ctx); err != nil {
		return in, fmt.Errorf("TECKEN_DATABASE_URL: %w", err)
	}
	if err = in.openStorage(ctx); err != nil {
		return in, fmt.Errorf("TECKEN_STORAGE_URL: %w", err)
	}
	if err = in.openDownloads(ctx); err != nil {
		return in, fmt.Errorf("TECKEN_STORAGE_URL: %w", err)
	}
	if err = in.late.Open(ctx, "TECKEN_SPOOL_DIR", in.openSpool); err != nil {
		return in, fmt.Errorf("TECKEN_SPOOL_DIR: %w", err)
	}
	in.usage, in.orphan = newLook(in.spool.Usage), newLook(func(ctx context.Context) (time.Duration, error) { return spool.OldestOrphan(ctx, c.SpoolDir) })
	background := context.WithoutCancel(ctx)
	if err = in.watchWrites(background); err != nil {
		return in, fmt.Errorf("TECKEN_STORAGE_URL: %w", err)
	}
	in.queues = in.newQueues(background)
	if err := in.limit(); err != nil {
		return in, err
	}
	fetches, waiting := fetchSlots(c)
	in.gate = gate.New(gate.Config{
		Leases:         in.leases,
		TenantUploads:  c.TenantUploads,
		Spool:          &in.spool,
		ReceivingSlots: c.MaxReceiving,
		FetchSlots:     fetches,
		FetchLine:      waiting,
		Wait:           c.AdmissionWait,
		Timeout:        c.UploadTimeout,
		Saturated:      in.queues.backlogged,
	})
	in.serve(ctx)
	in.gauges(background)
	return in, nil
}

// observe builds the log, the metrics, and the reports to Sentry.
func (in *instance) observe(lines *telemetry.Lines) (err error) {
	c := in.config
	if in.logger, err = telemetry.NewLogger(lines, c.LogLevel, c.Instance); err != nil {
		return fmt.Errorf("TECKEN_LOG_LEVEL: %w", err)
	}
	release := c.SentryRelease
	if release == "" {
		release = version
	}
	in.reporter, err = telemetry.NewReporter(telemetry.ReporterOptions{
		DSN: c.SentryDSN, Environment: c.SentryEnvironment, Release: release, Instance: c.Instance,
	})
	if err != nil {
		return fmt.Errorf("SENTRY_DSN: %w", err)
	}
	in.metrics = telemetry.NewMetrics()
	in.metrics.CountLost(lines)
	telemetry.WatchPanics(in.logger, in.reporter, in.metrics)
	in.late.Failed = func(setting string, err error) {
		in.logger.Error("directory can't be used yet", "setting", setting, "err", err, "retry_in", health.LateInterval)
		in.reporter.Error("directory can't be used yet: "+setting, err)
	}
	in.late.Opened = func(setting string) { in.logger.Info("directory can be used now", "setting", setting) }
	return nil
}

// openRecords opens the records. Lookups have their own connections, so that they and uploads do not wait for each other; a pool of one has
// none to spare.
func (in *instance) openRecords(ctx context.Context) (err error) {
	conns := in.config.DatabaseMaxConns
	own := lookupQueries(conns)
	if own < conns {
		conns -= own
	}
	if in.records, err = record.Open(ctx, in.config.DatabaseURL, record.Options{MaxConns: conns, Stale: in.config.TenantStale, Logger: in.logger}); err != nil {
		return err
	}
	if in.lookups = in.records; own < in.config.DatabaseMaxConns {
		in.lookups, err = record.Open(ctx, in.config.DatabaseURL, record.Options{MaxConns: own, Logger: in.logger})
	}
	return err
}

func (in *instance) closeRecords() error {
	if in.lookups == nil || in.lookups == in.records {
		return in.records.Close()
	}
	return errors.Join(in.lookups.Close(), in.records.Close())
}

// limit builds the limits of tenants.
func (in *instance) limit() (err error) {
	c := in.config
	o := lease.Options{Instance: c.Instance, Stale: c.TenantStale, Logger: in.logger, Told: func(err error) {
		in.reporter.Error("tenant limits are local: the shared leases are away", err)
	}}
	if c.RedisURL != "" {
		if in.redis, err = redislease.Open(c.RedisURL, c.TenantStale); err != nil {
			return fmt.Errorf("TECKEN_REDIS_URL: %w", err)
		}
		o.Shared = in.redis
	}
	in.leases = lease.NewKeeper(o)
	return nil
}

func (in *instance) openStorage(ctx context.Context) error {
	place, err := storage.ParseURL(in.config.StorageURL)
	if err != nil {
		return err
	}
	if place.Dir == "" {
		in.storage, err = s3store.Open(ctx, place, s3store.Options{Conns: sched.MostInUse*(in.config.StorageSlots+stageSlots(in.config)) + spareConns, Clock: &in.s3Clock})
		return err
	}
	dir, err := dirstore.New(place.Dir)
	if err != nil {
		return err
	}
	in.storage = dir
	return in.late.Open(ctx, "TECKEN_STORAGE_URL", dir.Prepare)
}

func (in *instance) openSpool(context.Context) error {
	c := in.config
	s, err := spool.Open(c.SpoolDir, spool.Options{
		Headroom: int64(c.SpoolHeadroom),
		Max:      int64(c.SpoolMax),
		Wait:     max(c.AdmissionWait, leastSpoolWait),
		Largest:  int64(c.MaxUploadSize),
		Instance: c.Instance,
		Logger:   in.logger,
	})
	if err == nil {
		in.spool.Store(s)
	}
	return err
}

// serve wires the upload path together, from its end to its beginning.
func (in *instance) serve(ctx context.Context) {
	c := in.config
	disk := &disk{in.disks, &in.late}
	watcher := in.watcher(disk)
	in.uploads = upload.NewService(upload.Config{
		Storage:      in.uploadStorage(),
		Records:      in.uploadRecords(),
		VerifySlots:  in.queues.verify,
		PublishSlots: in.queues.publish,
		StageSlots:   in.queues.stage,
		DecoderSlots: in.queues.stream,
		SpareMemory:  int64(c.DecoderMemory) / spareShare,
		Limits: archive.Limits{
			MaxMembers:         c.MaxMembers,
			MaxMemberSize:      int64(c.MaxMemberSize),
			MaxExtractedSize:   int64(c.MaxExtractedSize),
			DisallowedSnippets: c.DisallowedSnippets,
		},
		MaxSize:         int64(c.MaxUploadSize),
		Timeout:         c.UploadTimeout,
		Retention:       c.Retention,
		TryRetention:    c.TryRetention,
		PublishParallel: publishFactor * c.StorageSlots,
		Stale:           c.TenantStale,
		Observer:        watcher,
		Now:             time.Now,
	})
	in.server = web.New(ctx, web.Config{
		Exchange: exchange.Config{Tokens: in.records, Reporter: watcher, Logger: in.logger, Now: time.Now},
		Uploads: uploads.Config{
			Gate:                in.gate,
			Uploads:             in.uploads,
			Records:             in.records,
			Disk:                disk,
			Watcher:             watcher,
			MaxUploadSize:       int64(c.MaxUploadSize),
			ReceiveTimeout:      c.ReceiveTimeout,
			ReceiveStallTimeout: c.ReceiveStallTimeout,
			ReceiveMinRate:      int64(c.ReceiveMinRate),
			Fetch:               newFetch(c),
		},
		Symbols: symbols.Config{
			Finder:       in.downloads.finder,
			MaxDownloads: symbols.DownloadsAtOnce(),
			PublicURL:    c.PublicURL,
			Links:        in.downloads.links,
		},
		Records:    records.Config{Uploads: in.records, Files: in.records, Reads: recordReads(c.DatabaseMaxConns)},
		Watcher:    watcher,
		Disk:       disk,
		Misfit:     in.records.Misfit,
		Version:    buildVersion(),
		Checks:     in.checks(),
		Saturation: in.saturation,
	})
}

// close closes everything, in the reverse order of building.
func (in *instance) close() {
	in.note("close the spool", in.spool.Close())
	if in.redis != nil {
		in.note("close Redis", in.redis.Close())
	}
	if in.records != nil {
		in.note("close the database", in.closeRecords())
	}
	if in.reporter != nil && !in.reporter.Close(flushTimeout) {
		in.logger.Warn("not everything reached Sentry")
	}
}

func (in *instance) note(what string, err error) {
	if err != nil {
		in.logger.Error(what, "err", err)
	}
}
