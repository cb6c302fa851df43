package uploadwatch

import (
	"context"
	"log/slog"

	"tecken-upload/internal/upload"
)

// EndLost reports an upload's end that is not recorded, and never will be: to the log, which then has all that is left of it, to Prometheus
// and to Sentry.
func (u *Uploads) EndLost(ctx context.Context, lost *upload.Upload, why upload.Loss, err error) {
	reason := oneOf(why, upload.Losses())
	u.lostEnds.WithLabelValues(reason).Inc()
	facts := []slog.Attr{
		slog.Int64("upload", lost.ID), slog.Int64("tenant", lost.TokenID), slog.String("label", lost.TokenLabel),
		slog.String("user", lost.User), slog.String("outcome", string(lost.Outcome)), slog.Int64("bytes", lost.Size),
		slog.Int("members", len(lost.Files)), slog.String("reason", reason), slog.Any("err", err),
	}
	u.log.LogAttrs(ctx, slog.LevelError, "end of an upload not recorded", facts...)
	u.reporter.Error("end of an upload not recorded: "+reason, err, facts...)
}
