package uploadwatch

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"tecken-upload/internal/telemetry"
	"tecken-upload/internal/upload"
)

const (
	mib = 1 << 20
	gib = 1 << 30

	// other is the label of what is in no fixed set.
	other = "other"
)

// Uploads reports the ends of uploads; it implements [upload.Observer]. Of each it writes one log line, at
// level info; warn where the server's shutdown cut it off, error where it failed or its deadline passed.
// It counts all of them, and reports to Sentry those that panicked, failed, timed out
// or were cut off: never one that was rejected or that its client gave up. Of those that fail for want of a service it reports one an
// hour of a kind: an outage is not a thousand events.
type Uploads struct {
	log      *slog.Logger
	reporter *telemetry.Reporter
	reports  telemetry.Throttle // of what services fail us with
	status   func(err error) int

	uploads   *prometheus.CounterVec
	bytes     prometheus.Counter
	sizes     prometheus.Histogram
	durations *prometheus.HistogramVec
	files     *prometheus.CounterVec
	fileBytes *prometheus.CounterVec
	stored    prometheus.Counter
	lostEnds  *prometheus.CounterVec
}

// NewUploads makes an Uploads and registers its metrics, which can be done once for each [telemetry.Metrics]. status returns the HTTP
// status that the end of an upload is answered with: nil is one that is completed.
func NewUploads(log *slog.Logger, reporter *telemetry.Reporter, metrics *telemetry.Metrics, status func(err error) int) *Uploads {
	u := &Uploads{
		status:   status,
		log:      log,
		reporter: reporter,
		uploads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tecken_uploads_total", Help: "Uploads that ended, by outcome.",
		}, []string{"outcome"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tecken_upload_bytes_total", Help: "Bytes of archives received.",
		}),
		sizes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tecken_upload_size_bytes", Help: "Size of archives received.",
			Buckets: []float64{mib, 16 * mib, 64 * mib, 128 * mib, 256 * mib, 512 * mib, 768 * mib, gib, 1.5 * gib, 2 * gib},
		}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tecken_upload_duration_seconds", Help: "Time that uploads spent in each phase.",
			Buckets: []float64{0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 90, 120, 180, 240, 300, 600, 1200, 1800},
		}, []string{"phase"}),
		files: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tecken_files_total", Help: "Members of archives, by result.",
		}, []string{"state", "extension"}),
		fileBytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tecken_file_bytes_total", Help: "Uncompressed bytes of members, by result.",
		}, []string{"state", "extension"}),
		stored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tecken_stored_bytes_total", Help: "Bytes put into storage.",
		}),
		lostEnds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tecken_upload_ends_lost_total", Help: "Ends of uploads that will never be recorded, by reason.",
		}, []string{"reason"}),
	}
	metrics.Register(u.uploads, u.bytes, u.sizes, u.durations, u.files, u.fileBytes, u.stored, u.lostEnds)
	// A rate is only seen to rise from a zero that was there.
	for _, o := range outcomes() {
		u.uploads.WithLabelValues(string(o))
	}
	for _, p := range phases() {
		u.durations.WithLabelValues(string(p))
	}
	for _, why := range upload.Losses() {
		u.lostEnds.WithLabelValues(string(why))
	}
	return u
}

// Ended reports one upload.
func (u *Uploads) Ended(ctx context.Context, r *upload.Report) {
	tallies := count(r.Upload.Files)
	explained := facts(r, tallies, u.status(r.Err))
	u.measure(r, tallies)
	u.report(r, explained)
	if len(r.Stack) > 0 {
		// Sentry gets it as frames; the log is where it can be read without.
		explained = append(explained, slog.String("stack", string(r.Stack)))
	}
	u.log.LogAttrs(ctx, level(r), "upload ended", explained...)
	if r.Leftover != nil {
		u.reportLeftover(ctx, r)
	}
}

// reportLeftover reports a workspace that could not be removed, to Sentry once an hour.
func (u *Uploads) reportLeftover(ctx context.Context, r *upload.Report) {
	const message = "workspace of an upload not removed"
	u.log.LogAttrs(ctx, slog.LevelError, message, slog.Int64("upload", r.Upload.ID), slog.Any("err", r.Leftover))
	if u.reports.Due(message) {
		u.reporter.Error(message, r.Leftover, slog.Int64("upload", r.Upload.ID))
	}
}

func (u *Uploads) measure(r *upload.Report, t tallies) {
	u.uploads.WithLabelValues(oneOf(r.Upload.Outcome, outcomes())).Inc()
	size := float64(max(0, r.Upload.Size))
	u.bytes.Add(size)
	if size > 0 {
		u.sizes.Observe(size)
	}
	u.stored.Add(float64(max(0, t.all.stored)))
	for phase, d := range r.Phases {
		u.durations.WithLabelValues(oneOf(phase, phases())).Observe(d.Seconds())
	}
	for key, n := range t.byBoth {
		state, extension := oneOf(upload.FileState(key[0]), states()), key[1]
		u.files.WithLabelValues(state, extension).Add(float64(n.files))
		u.fileBytes.WithLabelValues(state, extension).Add(float64(max(0, n.bytes)))
	}
}

func (u *Uploads) report(r *upload.Report, explained []slog.Attr) {
	where := oneOf(r.Upload.Phase, phases())
	switch {
	case len(r.Stack) > 0:
		u.reporter.Panic("upload panicked in "+where, cause(r), r.Stack, explained...)
	case due(r) && !u.Refused(r.Err, explained...):
		kind := "upload " + oneOf(r.Upload.Outcome, outcomes()) + " in " + where + reason(r.Err)
		if !errors.Is(r.Err, upload.ErrUnavailable) || u.reports.Due(kind) {
			u.reporter.Error(kind, cause(r), explained...)
		}
	}
}

// Refused reports to Sentry that storage refuses what is asked of it, whatever that is, once an hour for each of its codes. It returns
// false for another error, and reports nothing.
func (u *Uploads) Refused(err error, facts ...slog.Attr) bool {
	refused := (*upload.RefusedError)(nil)
	if !errors.As(err, &refused) {
		return false
	}
	if kind := "storage refuses: " + refused.Code; u.reports.Due(kind) {
		u.reporter.Error(kind, err, facts...)
	}
	return true
}

// due reports whether an upload that did not panic is our failure.
func due(r *upload.Report) bool {
	switch r.Upload.Outcome {
	case upload.Completed, upload.Rejected, upload.Cancelled:
		return false
	}
	return true
}

// reason tells apart what would hide behind each other as one issue.
func reason(err error) string {
	switch {
	case errors.Is(err, upload.ErrUnavailable):
		return ": " + upload.ErrUnavailable.Error()
	case errors.Is(err, upload.ErrBusy):
		return ": " + upload.ErrBusy.Error()
	}
	return ""
}

func level(r *upload.Report) slog.Level {
	switch {
	case len(r.Stack) > 0, r.Upload.Outcome == upload.Failed, r.Upload.Outcome == upload.TimedOut:
		return slog.LevelError
	case due(r):
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func outcomes() []upload.Outcome {
	return []upload.Outcome{
		upload.Completed, upload.Rejected, upload.Failed, upload.TimedOut, upload.Cancelled, upload.Interrupted,
	}
}

func states() []upload.FileState {
	return []upload.FileState{upload.FilePending, upload.FileUploaded, upload.FileSkipped, upload.FileIgnored}
}

// oneOf returns value as a label: itself where it is of the set, or "other".
func oneOf[T ~string](value T, set []T) string {
	if slices.Contains(set, value) {
		return string(value)
	}
	return other
}
