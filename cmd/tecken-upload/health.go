package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"tecken-upload/internal/health"
	"tecken-upload/internal/probe"
	"tecken-upload/internal/storage"
	"tecken-upload/internal/storage/sweep"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web"
)

// prover is a service that can be written to for a proof.
type prover interface {
	Prove(ctx context.Context) error
}

// checkedStorage is a storage with checks, which can be swept.
type checkedStorage interface {
	upload.Storage
	sweep.Storage
	prover
	// Check returns an error if storage can't be reached. It writes nothing.
	Check(ctx context.Context) error
}

// writes are probes that write where uploads are written. Callers share a probe's call, so that a hung disk holds one goroutine.
type writes struct{ spool, records, storage *probe.Probe[struct{}] }

// watchWrites builds in.writes, in.disks and both proofs.
func (in *instance) watchWrites(ctx context.Context) error {
	c := in.config
	place, err := storage.ParseURL(c.StorageURL)
	if err != nil {
		return err
	}
	in.writes = writes{
		spool: newLook(in.proveSpool), records: newLook(proof(in.records)), storage: newLook(proof(in.storage)),
	}
	recovered := map[upload.Disk]func() bool{upload.DiskSpool: func() bool { return in.roomy(ctx) && answers(ctx, in.writes.spool) }}
	if in.records.OnDisk() {
		recovered[upload.DiskRecords] = func() bool { return answers(ctx, in.writes.records) }
	}
	if place.Dir != "" {
		recovered[upload.DiskStorage] = func() bool { return answers(ctx, in.writes.storage) }
	}
	in.disks = health.NewDisks(health.DisksConfig{
		Threshold: c.DiskFullThreshold, Window: c.DiskFullWindow, Recovered: recovered, Turned: in.reportDisk, Now: time.Now,
	})
	newProof := func(write *probe.Probe[struct{}]) *health.Proof {
		return health.NewProof(c.DiskFullThreshold, c.DiskFullWindow, func(ctx context.Context) error {
			_, err := write.Ask(ctx)
			return err
		}, time.Now)
	}
	in.recordsProof, in.storageProof = newProof(in.writes.records), newProof(in.writes.storage)
	return nil
}

func proof(p prover) func(context.Context) (struct{}, error) {
	return func(ctx context.Context) (struct{}, error) { return struct{}{}, p.Prove(ctx) }
}

func answers(ctx context.Context, p *probe.Probe[struct{}]) bool {
	_, err := p.Ask(ctx)
	return err == nil
}

// uploadStorage is the uploads' storage, watched.
func (in *instance) uploadStorage() upload.Storage {
	return health.WatchStorage(in.downloads.finder.Uploads(in.storage), in.storageProof)
}

// uploadRecords is the uploads' records, watched.
func (in *instance) uploadRecords() upload.Records {
	return health.WatchRecords(in.downloads.finder.Recorded(in.records), in.recordsProof)
}

// checks are the heartbeat's checks. A service must answer, and prove that it can be written to.
func (in *instance) checks() map[string]web.Check {
	both := func(check web.Check, p *health.Proof) web.Check {
		return func(ctx context.Context) error {
			if err := check(ctx); err != nil {
				return err
			}
			return p.Check(ctx)
		}
	}
	return map[string]web.Check{
		"database":  both(in.records.Check, in.recordsProof),
		"migration": in.records.Migrated,
		"storage":   both(in.storage.Check, in.storageProof),
		"spool":     in.checkSpool,
		"queue":     in.checkQueue,
	}
}

// proveSpool makes a workspace: all that an upload needs except its bytes.
func (in *instance) proveSpool(ctx context.Context) (struct{}, error) {
	workspace, err := in.spool.Create(ctx, 0)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, workspace.Close()
}

// checkSpool makes a workspace too, and counts its error for the disk: it reserves no room, so "full" is the kernel's error.
func (in *instance) checkSpool(ctx context.Context) error {
	_, err := in.writes.spool.Ask(ctx)
	in.disks.Note(err)
	return err
}

// roomy reports whether the disk has its headroom free, in bytes and inodes.
func (in *instance) roomy(ctx context.Context) bool {
	usage, err := in.usage.Ask(ctx)
	return err == nil && usage.Free >= usage.Headroom && (usage.Inodes == 0 || usage.FreeInodes >= minInodes)
}

// reportDisk reports a disk that turns the heartbeats red, or green again.
func (in *instance) reportDisk(disk upload.Disk, red bool) {
	if !red {
		in.logger.Info("a disk can be written to again", "disk", disk)
		return
	}
	counts := fmt.Sprint(in.disks.Counts())
	in.logger.Error("a disk keeps failing uploads: the heartbeats are red", "disk", disk, "errors", counts)
	in.reporter.Error("a disk keeps failing uploads", fmt.Errorf("disk of %s", disk), slog.String("errors", counts))
}

// disk is what heartbeats check of this machine's disks.
type disk struct {
	*health.Disks
	late *health.Late
}

// Full reports whether to send traffic elsewhere.
func (d *disk) Full() bool { return d.Disks.Full() || len(d.late.Left()) > 0 }
