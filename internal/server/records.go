package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/upload"
)

// UploadRecords tells what uploads there were. Its errors wrap upload.ErrUnavailable where trying again may help.
type UploadRecords interface {
	// ListUploads returns a page of uploads. Its error wraps catalogue.ErrCursor where q.After is not of this list.
	ListUploads(ctx context.Context, q *catalogue.UploadQuery) (catalogue.Uploads, error)
	// UploadRecord returns one upload, or upload.ErrNotFound.
	UploadRecord(ctx context.Context, id int64) (catalogue.Upload, error)
	// Stats tallies the uploads of one user, or of all where userID is 0.
	Stats(ctx context.Context, userID int64, now time.Time) (catalogue.Stats, error)
}

// FileRecords tells what files were in them. Its errors are those of UploadRecords.
type FileRecords interface {
	// ListFiles returns a page of files.
	ListFiles(ctx context.Context, q *catalogue.FileQuery) (catalogue.Files, error)
	// FileRecord returns one file, or upload.ErrNotFound.
	FileRecord(ctx context.Context, id int64) (catalogue.File, error)
}

// Bounds of reading records.
const (
	// maxRecordReads is how many read records at a time, at most. Each holds one connection to the database.
	maxRecordReads = 2
	// recordWait is how long a reader waits for its turn.
	recordWait = 8 * time.Second
)

// errNoRecord: there is no record of that id.
var errNoRecord = errors.New("Not Found") //nolint:staticcheck // an answer's text

// recordRoutes adds the API of records. A token sees its own user's, one that may view all sees all.
func (s *Server) recordRoutes() {
	s.echo.POST("/upload/auth_info/", forUser{s, s.authInfo}.handle)
	for path, answer := range map[string]userAnswerer{
		"/api/uploads/":               s.listUploads,
		"/api/uploads/upload/:id":     s.oneUpload,
		"/api/uploads/files/":         s.listFiles,
		"/api/uploads/files/file/:id": s.oneFile,
		"/api/stats/":                 s.stats,
	} {
		s.echo.GET(path, forUser{s, s.inTurn(answer)}.handle)
	}
}

// A userAnswerer answers the bearer of a token.
type userAnswerer func(c echo.Context, token *upload.Token) (any, error)

// inTurn bounds how many at a time read records: uploads share their connections to the database.
func (s *Server) inTurn(answer userAnswerer) userAnswerer {
	return func(c echo.Context, token *upload.Token) (any, error) {
		ctx := c.Request().Context()
		waiting, cancel := context.WithTimeout(ctx, recordWait)
		defer cancel()
		switch err := s.recordReads.Acquire(waiting, 1); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, &upload.BusyError{Reason: "Too many are reading records. Try again later.", RetryAfter: someTime()}
		}
		defer s.recordReads.Release(1)
		return answer(c, token)
	}
}

// forUser is a handler that answers the bearer of a token. Any permission will do.
type forUser struct {
	*Server
	answer userAnswerer
}

func (s forUser) handle(c echo.Context) error {
	r := c.Request()
	token, _, err := s.authenticate(r)
	if err != nil {
		return err
	}
	body, err := s.answer(c, &token)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store") // it is for this token alone
	if r.ContentLength == 0 {
		s.write(c, http.StatusOK, body)
		return nil
	}
	s.answerNow(c, func() { s.write(c, http.StatusOK, body) })
	s.drain(c, unread(r, drainAuthenticated))
	return nil
}

func (s *Server) listUploads(c echo.Context, token *upload.Token) (any, error) {
	query, err := readUploadQuery(c.Request(), s.Now())
	if err != nil {
		return nil, err
	}
	if query.UserID, err = viewer(token, query.User); err != nil {
		return nil, err
	}
	page, err := s.UploadRecords.ListUploads(c.Request().Context(), query)
	if err != nil {
		return nil, recordError(err)
	}
	return newUploadList(query, &page, token.Has(upload.PermissionViewAll)), nil
}

func (s *Server) listFiles(c echo.Context, token *upload.Token) (any, error) {
	query, err := readFileQuery(c.Request(), s.Now())
	if err != nil {
		return nil, err
	}
	if query.UserID, err = viewer(token, query.User); err != nil {
		return nil, err
	}
	page, err := s.FileRecords.ListFiles(c.Request().Context(), query)
	if err != nil {
		return nil, recordError(err)
	}
	return newFileList(query, &page, token.Has(upload.PermissionViewAll)), nil
}

// viewer returns whose records the bearer of a token may see: those of one user, or all, which is 0.
func viewer(token *upload.Token, asked string) (userID int64, err error) {
	switch {
	case token.Has(upload.PermissionViewAll):
		return 0, nil
	case asked != "" && asked != token.User:
		return 0, errForbidden
	}
	return token.UserID, nil
}

func (s *Server) oneUpload(c echo.Context, token *upload.Token) (any, error) {
	query, err := readUploadFilesQuery(c)
	if err != nil {
		return nil, err
	}
	u, err := s.UploadRecords.UploadRecord(c.Request().Context(), query.UploadID)
	if err != nil {
		return nil, recordError(err)
	}
	if err := mayView(token, &u); err != nil {
		return nil, err
	}
	page, err := s.FileRecords.ListFiles(c.Request().Context(), query)
	if err != nil {
		return nil, recordError(err)
	}
	return newUploadWithFiles(query, &u, &page), nil
}

func (s *Server) oneFile(c echo.Context, token *upload.Token) (any, error) {
	id, err := recordID(c)
	if err != nil {
		return nil, err
	}
	f, err := s.FileRecords.FileRecord(c.Request().Context(), id)
	if err != nil {
		return nil, recordError(err)
	}
	if err := mayView(token, f.Upload); err != nil {
		return nil, err
	}
	return newOneFile(&f), nil
}

// mayView refuses the records of others. That a record exists is no secret: ids are counted up.
func mayView(token *upload.Token, u *catalogue.Upload) error {
	if u.UserID != token.UserID && !token.Has(upload.PermissionViewAll) {
		return errForbidden
	}
	return nil
}

func (s *Server) stats(c echo.Context, token *upload.Token) (any, error) {
	if _, err := readFields(c.Request()); err != nil {
		return nil, err
	}
	userID, all := token.UserID, token.Has(upload.PermissionViewAll)
	if all {
		userID = 0
	}
	stats, err := s.UploadRecords.Stats(c.Request().Context(), userID, s.Now())
	if err != nil {
		return nil, recordError(err)
	}
	return newStats(&stats, all), nil
}

// recordID returns the id in the address.
func recordID(c echo.Context) (int64, error) {
	id, err := strconv.ParseUint(c.Param("id"), 10, 63)
	if err != nil {
		return 0, errNoRecord
	}
	return int64(id), nil
}

// recordError gives an error of the records the kind that it is answered by.
func recordError(err error) error {
	switch {
	case errors.Is(err, upload.ErrNotFound):
		return fmt.Errorf("%w: %w", errNoRecord, err)
	case errors.Is(err, catalogue.ErrCursor):
		return &queryError{fmt.Sprintf(pageSentence, "another list's")}
	}
	return err
}
