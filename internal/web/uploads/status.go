package uploads

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// Bounds for reading the states of uploads.
const (
	// maxStatusReads bounds the requests that read at a time. Each holds one connection to the database.
	maxStatusReads = 2
	// statusWait bounds a request's wait for its slot.
	statusWait = 8 * time.Second
)

// Records returns the states of uploads.
type Records interface {
	// Status returns an upload as it is recorded, with its files once it has ended, or upload.ErrNotFound. One of a dead process is
	// upload.Lost. The error wraps upload.ErrUnavailable where trying again may help.
	Status(ctx context.Context, id int64) (upload.Upload, error)
}

// statusBody is the answer about an upload in progress or ended.
type statusBody struct {
	Upload statusAnswer `json:"upload"`
}

type statusAnswer struct {
	uploadAnswer
	Outcome  *string `json:"outcome"` // null while it runs
	Phase    *string `json:"phase"`   // null where an older version recorded the upload
	Error    *string `json:"error"`
	Progress float64 `json:"progress"`
}

func newStatusBody(u *upload.Upload) statusBody {
	a := statusAnswer{uploadAnswer: newUploadBody(u).Upload, Progress: u.Progress}
	for to, value := range map[**string]string{&a.Outcome: string(u.Outcome), &a.Phase: string(u.Phase), &a.Error: u.Error} {
		if value != "" {
			*to = &value
		}
	}
	return statusBody{a}
}

// Status answers an upload's state. A token sees its own user's uploads; with the permission to view all, all.
func (s *Server) Status(c echo.Context) error { return s.ForUser(c, s.status) }

func (s *Server) status(c echo.Context, token *upload.Token) (any, error) {
	id, err := strconv.ParseUint(c.Param("id"), 10, 63)
	if err != nil {
		return nil, exchange.ErrNoRecord
	}
	u, runs := s.Uploads.InFlight(int64(id))
	if !runs {
		if u, err = s.readStatus(c.Request().Context(), int64(id)); err != nil {
			return nil, err
		}
	}
	if u.User != token.User && !token.Has(upload.PermissionViewAll) {
		return nil, exchange.ErrForbidden
	}
	return newStatusBody(&u), nil
}

// readStatus reads an upload's record in a slot: uploads share their connections to the database.
func (s *Server) readStatus(ctx context.Context, id int64) (upload.Upload, error) {
	waiting, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	if s.statusReads.Acquire(waiting, 1) != nil {
		if ctx.Err() != nil {
			return upload.Upload{}, context.Cause(ctx)
		}
		return upload.Upload{}, exchange.Busy("Too many ask for the state of an upload. Try again later.")
	}
	defer s.statusReads.Release(1)
	u, err := s.Records.Status(ctx, id)
	if errors.Is(err, upload.ErrNotFound) {
		return u, fmt.Errorf("%w: %w", exchange.ErrNoRecord, err)
	}
	return u, err
}
