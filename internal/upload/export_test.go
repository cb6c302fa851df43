package upload

import (
	"context"
	"time"

	"tecken-upload/internal/archive"
)

// Received is what a source calls once the body is there.
func (in *Arrival) Received(ctx context.Context, d Delivery) (context.Context, error) {
	return in.run.received(ctx, d)
}

// Work is what a source reads an archive with.
func (in *Arrival) Work() archive.Work { return in.run }

// SetStagePatience changes how long a commit waits for a staging that does not get on.
func (s *Service) SetStagePatience(d time.Duration) { s.stagePatience = d }
