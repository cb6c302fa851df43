// Package records is the room of the web that shows uploads and files, with the API of Mozilla's Tecken.
package records

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/semaphore"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// UploadRecords reads the records of uploads. Its errors wrap upload.ErrUnavailable if a retry may help.
type UploadRecords interface {
	// ListUploads returns a page of uploads. Its error wraps catalogue.ErrCursor if q.After is another list's.
	ListUploads(ctx context.Context, q *catalogue.UploadQuery) (catalogue.Uploads, error)
	// UploadRecord returns one upload, or upload.ErrNotFound.
	UploadRecord(ctx context.Context, id int64) (catalogue.Upload, error)
	// Related returns the newest other uploads of the same archive, judged by user, size and name; at most limit.
	Related(ctx context.Context, u *catalogue.Upload, limit int) ([]catalogue.Upload, error)
	// Stats tallies the uploads of one user, or of all if userID is 0.
	Stats(ctx context.Context, userID int64, now time.Time) (catalogue.Stats, error)
}

// FileRecords reads the records of files. Its errors are those of UploadRecords.
type FileRecords interface {
	// ListFiles returns a page of stored files.
	ListFiles(ctx context.Context, q *catalogue.FileQuery) (catalogue.Files, error)
	// FileRecord returns one file, or upload.ErrNotFound.
	FileRecord(ctx context.Context, id int64) (catalogue.File, error)
	// StoredFiles returns the next stored files of an upload in its order, at most limit, after a position; -1 at the beginning.
	StoredFiles(ctx context.Context, u *catalogue.Upload, behind int64, limit int) ([]catalogue.File, error)
	// PassedFiles returns the names of skipped and ignored members of uploads, by upload and position.
	PassedFiles(ctx context.Context, q *catalogue.PassedQuery) ([]catalogue.Passed, error)
}

// Bounds for reading records.
const (
	// maxRecordReads bounds the requests that read records at a time. Each holds one connection to the database.
	maxRecordReads = 2
	// recordWait bounds a request's wait for its slot.
	recordWait = 8 * time.Second
	// maxRelated bounds the related uploads shown with an upload.
	maxRelated = 10
)

// Config configures a Server.
type Config struct {
	// Uploads and Files are the API's records.
	Uploads UploadRecords
	Files   FileRecords
	// Reads bounds the requests that read records, each with a connection to the database: at most 2; 0: 2.
	Reads int
}

// Server answers the requests of the records API. A token sees its own user's records; with the permission to view all, all.
type Server struct {
	Config
	*exchange.Responder
	// reads are the slots of requests that read records.
	reads *semaphore.Weighted
}

// New makes a Server.
func New(r *exchange.Responder, c Config) *Server {
	return &Server{Config: c, Responder: r, reads: semaphore.NewWeighted(int64(min(cmp.Or(c.Reads, maxRecordReads), maxRecordReads)))}
}

// inTurn calls read in a slot, since uploads share their connections to the database. The slot ends before the answer is sent, so that a
// slow client holds none.
func (s *Server) inTurn(ctx context.Context, read func() error) error {
	waiting, cancel := context.WithTimeout(ctx, recordWait)
	defer cancel()
	switch err := s.reads.Acquire(waiting, 1); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return exchange.Busy("Too many are reading records. Try again later.")
	}
	defer s.reads.Release(1)
	return recordError(read())
}

// ListUploads answers a page of uploads.
func (s *Server) ListUploads(c echo.Context) error { return s.ForUser(c, s.listUploads) }

func (s *Server) listUploads(c echo.Context, token *upload.Token) (any, error) {
	query, faults := catalogue.ReadUploads(c.Request().URL.RawQuery, s.Now())
	if len(faults) > 0 {
		return nil, exchange.QueryFaults(faults)
	}
	query.UserID = viewer(token)
	ctx := c.Request().Context()
	var page catalogue.Uploads
	err := s.inTurn(ctx, func() (err error) {
		page, err = s.Uploads.ListUploads(ctx, query)
		return ofPage(err, query.After)
	})
	if err != nil {
		return nil, err
	}
	return &uploadList{s, page.Uploads, newUploadListEnd(query, &page, token.Has(upload.PermissionViewAll))}, nil
}

// ListFiles answers a page of files.
func (s *Server) ListFiles(c echo.Context) error { return s.ForUser(c, s.listFiles) }

func (s *Server) listFiles(c echo.Context, token *upload.Token) (any, error) {
	query, faults := catalogue.ReadFiles(c.Request().URL.RawQuery, s.Now())
	if len(faults) > 0 {
		return nil, exchange.QueryFaults(faults)
	}
	query.UserID = viewer(token)
	ctx := c.Request().Context()
	var page catalogue.Files
	err := s.inTurn(ctx, func() (err error) {
		page, err = s.Files.ListFiles(ctx, query)
		return ofPage(err, query.After)
	})
	if err != nil {
		return nil, err
	}
	return newFileList(query, &page, token.Has(upload.PermissionViewAll)), nil
}

// viewer returns the user that the token's bearer may see; 0: all users.
func viewer(token *upload.Token) (userID int64) {
	if token.Has(upload.PermissionViewAll) {
		return 0
	}
	return token.UserID
}

// OneUpload answers one upload.
func (s *Server) OneUpload(c echo.Context) error { return s.ForUser(c, s.oneUpload) }

func (s *Server) oneUpload(c echo.Context, token *upload.Token) (any, error) {
	id, err := recordID(c)
	if err != nil {
		return nil, err
	}
	ctx, whole := c.Request().Context(), &wholeUpload{Server: s}
	err = s.inTurn(ctx, func() error {
		u, err := s.Uploads.UploadRecord(ctx, id)
		if err != nil {
			return err
		}
		whole.upload = &u
		if err := mayView(token, &u); err != nil {
			return err
		}
		whole.related, err = s.Uploads.Related(ctx, &u, maxRelated)
		return err
	})
	return whole, err
}

// OneFile answers one file.
func (s *Server) OneFile(c echo.Context) error { return s.ForUser(c, s.oneFile) }

func (s *Server) oneFile(c echo.Context, token *upload.Token) (any, error) {
	id, err := recordID(c)
	if err != nil {
		return nil, err
	}
	ctx := c.Request().Context()
	var f catalogue.File
	err = s.inTurn(ctx, func() (err error) {
		f, err = s.Files.FileRecord(ctx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := mayView(token, f.Upload); err != nil {
		return nil, err
	}
	return &wholeFile{s, &f}, nil
}

// mayView refuses other users' records. That a record exists is no secret: ids are counted up.
func mayView(token *upload.Token, u *catalogue.Upload) error {
	if u.UserID != token.UserID && !token.Has(upload.PermissionViewAll) {
		return exchange.ErrForbidden
	}
	return nil
}

// Stats answers tallies of uploads and files.
func (s *Server) Stats(c echo.Context) error { return s.ForUser(c, s.stats) }

func (s *Server) stats(c echo.Context, token *upload.Token) (any, error) {
	ctx := c.Request().Context()
	var stats catalogue.Stats
	err := s.inTurn(ctx, func() (err error) {
		stats, err = s.Uploads.Stats(ctx, viewer(token), s.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	return newStats(&stats, token.Has(upload.PermissionViewAll)), nil
}

// recordID returns the id in the address.
func recordID(c echo.Context) (int64, error) {
	id, err := strconv.ParseUint(c.Param("id"), 10, 63)
	if err != nil {
		return 0, exchange.ErrNoRecord
	}
	return int64(id), nil
}

// recordError gives an error of the records its kind.
func recordError(err error) error {
	if errors.Is(err, upload.ErrNotFound) {
		return fmt.Errorf("%w: %w", exchange.ErrNoRecord, err)
	}
	return err
}

// ofPage turns an error about the requested page into one about its parameter.
func ofPage(err error, page string) error {
	if errors.Is(err, catalogue.ErrCursor) {
		return exchange.QueryFaults(catalogue.OtherPage(page))
	}
	return err
}
