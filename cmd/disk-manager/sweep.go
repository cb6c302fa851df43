package main

import (
	"context"
	"errors"
	"io"
	"time"

	"tecken-upload/internal/janitor"
	"tecken-upload/internal/janitor/child"
	"tecken-upload/internal/spool"
)

// self is this program, even if its file has been replaced or removed.
const self = "/proc/self/exe"

// maxAutopsies bounds the events of removed orphans in one sweep.
const maxAutopsies = 20

var errTimeout = errors.New("the sweep took longer than TECKEN_SWEEP_TIMEOUT")

// inChild sweeps in a process of its own, so that no failure of a sweep ends this one. Its reports are passed on as they come.
func (m *manager) inChild(ctx context.Context) outcome {
	heard := make(chan janitor.Message, 1)
	told := 0
	r := child.Run(ctx, child.Spec{
		Path: self, Args: []string{"sweep", "--json"}, Env: m.settings.environ(),
		Timeout: m.settings.SweepTimeout, MaxLine: janitor.MaxLine,
		Line: func(line []byte) {
			message, err := janitor.Read(line)
			switch {
			case err != nil:
				m.watch.log.Warn("a line of a sweep's output can't be read", "err", err)
			case message.Autopsy != nil:
				told++
				m.watch.autopsy(ctx, message.Autopsy, told <= maxAutopsies)
			default:
				select {
				case heard <- message:
				default: // there is one report only
				}
			}
		},
	})
	var last janitor.Message
	select {
	case last = <-heard:
	default:
	}
	return judge(r, last)
}

// judge returns the outcome from the end of a sweep's process and its last message.
func judge(r child.Result, said janitor.Message) outcome {
	o := outcome{status: r.Status, stderr: r.Stderr, givenUp: r.GivenUp, err: r.Err}
	if said.Report != nil {
		o.report = *said.Report
	}
	switch {
	case r.GivenUp != nil:
		o.result, o.kind = resultGivenUp, "sweep can't be killed"
	case r.TimedOut:
		o.result, o.kind, o.err = resultTimedOut, "sweep timed out", errTimeout
	case r.Signal != 0:
		o.result, o.kind = resultDied, "sweep killed: "+r.Signal.String()
	case r.Status == "":
		o.result, o.kind = resultDied, "sweep not started"
	case said.Report == nil:
		o.result, o.kind = resultDied, "sweep died: "+r.Status
		if o.err == nil {
			o.err = errors.New("it ended without a report")
		}
	case said.Err != "":
		o.result, o.kind, o.err = resultFailed, said.Kind, errors.New(said.Err)
	case o.report.Failed > 0:
		o.result, o.err = resultIncomplete, nil
	default:
		o.result, o.err = resultOK, nil
	}
	return o
}

// environ is the environment of a sweep's process.
func (s *settings) environ() []string {
	return []string{
		"TECKEN_SPOOL_DIR=" + s.SpoolDir,
		"TECKEN_SPOOL_HEADROOM=" + s.SpoolHeadroom.String(),
		"TECKEN_ORPHAN_AGE=" + s.OrphanAge.String(),
		"TECKEN_INSTANCE=" + s.Instance,
		"TECKEN_LOG_LEVEL=" + s.LogLevel,
	}
}

// once sweeps in this process. The spool may be missing, or be another directory than before.
func once(ctx context.Context, s *settings, readOnly bool, tell func(janitor.Autopsy)) (janitor.Report, error) {
	at, err := spool.Attach(s.SpoolDir, spool.Options{ReadOnly: readOnly})
	if err != nil {
		return janitor.Report{}, err
	}
	report, err := janitor.Sweep(ctx, at, janitor.Policy{OrphanAge: s.OrphanAge, Headroom: int64(s.SpoolHeadroom)}, tell)
	return report, errors.Join(err, at.Close())
}

// sweepForLoop is the sweep in a process of its own: it reports to the loop at the other end of the pipe.
func sweepForLoop(ctx context.Context, s *settings, stdout io.Writer) int {
	var lost error
	report, err := once(ctx, s, false, func(a janitor.Autopsy) {
		if err := janitor.Write(stdout, janitor.Message{Autopsy: &a}); err != nil {
			lost = err
		}
	})
	last := janitor.Message{Report: &report}
	if err != nil {
		last.Kind, last.Err = janitor.Kind(err), err.Error()
	}
	if err := errors.Join(err, lost, janitor.Write(stdout, last)); err != nil || report.Failed > 0 {
		return exitFailed
	}
	return exitOK
}

// sweepForPeople is the sweep at a terminal: it logs what is removed, or due.
func sweepForPeople(ctx context.Context, s *settings, dryRun bool, w *watch) int {
	if dryRun {
		w.log = w.log.With("dry_run", true)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.SweepTimeout, errTimeout)
	defer cancel()
	began := time.Now()
	report, err := once(ctx, s, dryRun, func(a janitor.Autopsy) { w.logAutopsy(ctx, &a, dryRun) })
	o := outcome{result: resultOK, report: report, dry: dryRun, err: err, elapsed: time.Since(began)}
	switch {
	case err != nil:
		o.result, o.kind = resultFailed, janitor.Kind(err)
	case report.Failed > 0:
		o.result = resultIncomplete
	}
	w.logSweep(ctx, o)
	if o.result == resultOK {
		return exitOK
	}
	if !dryRun { // a dry run is made by hand, and its log is read
		w.report(o)
	}
	return exitFailed
}
