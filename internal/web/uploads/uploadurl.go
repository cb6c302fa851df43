package uploads

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/fetch"
	"tecken-upload/internal/gate"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

const (
	// maxURLForm bounds a form with a URL, in bytes.
	maxURLForm = 64 << 10
	// formTimeout bounds receiving it: it holds no slot, and a slow one costs no more than a slow header.
	formTimeout = 10 * time.Second
)

// namesURL reports whether a request has the archive's URL, instead of the archive.
func namesURL(r *http.Request) bool {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && mediaType == "application/x-www-form-urlencoded"
}

// uploadURL admits and runs an upload by URL, and returns like upload. An address that is not allowed is refused without a record, like any
// other request that can't be an upload.
func (s *Server) uploadURL(ctx context.Context, c echo.Context, token upload.Token, label string, async bool, end func()) (of result, err error) {
	// here ends when the client hangs up, which net/http does not notice once bytes follow the request. An upload that goes on without
	// its client is watched until it is admitted.
	here, leave := exchange.WhileHere(ctx)
	defer leave()
	form, err := s.readURLForm(here, c)
	if err != nil {
		return of, err
	}
	download, err := s.Fetch.Download(form.url)
	if err != nil {
		return of, ofFetch(err, s.MaxUploadSize)
	}
	pass, err := s.enter(here, token, -1)
	if err != nil {
		return of, err
	}
	if err := s.whileTaking(here, pass.FetchSlot); err != nil {
		if left := pass.Close(); left != nil {
			s.Report(ctx, c, exchange.Caller{Token: &token, Label: label}, fmt.Errorf("remove a workspace: %w", left))
		}
		return of, err
	}
	if !async {
		ctx = here
	}
	return s.run(ctx, upload.Request{
		Token:       token,
		Label:       label,
		Declared:    -1,
		DownloadURL: download.URL(),
		Pass:        pass,
		Source:      upload.Archive(s.newURLSource(download, form.try, pass)),
	}, async, end)
}

// fetchInto delivers the archive at the URL in a multipart form. The upload was admitted with the form.
func (s *Server) fetchInto(ctx context.Context, in *upload.Arrival, pass *gate.Pass, async bool, form urlForm) (d upload.Delivery, err error) {
	here, leave := exchange.WhileHere(ctx)
	defer leave()
	download, err := s.Fetch.Download(form.url)
	if err != nil {
		return d, ofFetch(err, s.MaxUploadSize)
	}
	err = s.whileTaking(here, pass.FetchSlot)
	if async {
		leave() // the connection may be another request's before the download ends
	} else {
		ctx = here
	}
	if err == nil {
		d, err = s.newURLSource(download, form.try, pass).Deliver(ctx, in)
	}
	d.DownloadURL = download.URL()
	return d, err
}

// newURLSource makes the source of an upload with a fetch slot.
func (s *Server) newURLSource(download *fetch.Download, try bool, pass *gate.Pass) *urlSource {
	return &urlSource{download: download, limit: s.MaxUploadSize, try: try, pace: s.newPace(pass), sized: pass.Grow}
}

// urlForm is a form with a URL.
type urlForm struct {
	url string
	try bool
}

// readURLForm reads the whole form, within formTimeout and the bounds of any body.
func (s *Server) readURLForm(ctx context.Context, c echo.Context) (urlForm, error) {
	body := s.newBody(ctx, c)
	if until := time.Now().Add(formTimeout); until.Before(body.until) {
		body.until = until
	}
	text, err := io.ReadAll(io.LimitReader(body, maxURLForm+1))
	body.release()
	if err != nil {
		return urlForm{}, err
	}
	if isFile(text) {
		return urlForm{}, upload.ErrNotForm
	}
	if len(text) > maxURLForm {
		return urlForm{}, badForm("The form is larger than the %d bytes that it may have.", maxURLForm)
	}
	// From here on the connection is only watched for its end, however long the download takes.
	if err := body.rc.SetReadDeadline(time.Time{}); err != nil {
		return urlForm{}, fmt.Errorf("%w: %w", upload.ErrClientGone, err)
	}
	form, err := url.ParseQuery(string(text))
	if err != nil {
		return urlForm{}, badForm("The form is malformed.") // err quotes it
	}
	named := urlForm{try: slices.ContainsFunc(form["try"], func(v string) bool { return v != "" })}
	for _, address := range form["url"] {
		named.url = strings.TrimSpace(address) // the last one counts
	}
	if named.url == "" {
		return urlForm{}, upload.ErrNoFile
	}
	return named, nil
}

func badForm(format string, args ...any) error {
	return &upload.SourceError{Kind: upload.ErrSource, Reason: fmt.Sprintf(format, args...)}
}

// urlSource delivers the archive from a URL.
type urlSource struct {
	download *fetch.Download
	limit    int64 // bytes of the archive
	try      bool
	pace     pace
	sized    func(size int64) // receives the archive's size, if the source declares it
}

// Deliver implements upload.Deliverer.
func (u *urlSource) Deliver(ctx context.Context, in *upload.Arrival) (upload.Delivery, error) {
	in.Accepted(upload.Delivery{Filename: cleanName(u.download.Filename()), Try: u.try, DownloadURL: u.download.URL()})
	file, err := u.receive(ctx, in)
	return upload.Delivery{
		File:         file,
		Filename:     cleanName(u.download.Filename()),
		Try:          u.try,
		RedirectURLs: u.download.Redirects(),
	}, ofFetch(err, u.limit)
}

func (u *urlSource) receive(ctx context.Context, in *upload.Arrival) (*os.File, error) {
	defer u.download.Close()
	if err := u.download.Open(ctx, u.limit); err != nil {
		return nil, err
	}
	if size := u.download.Size(); size >= 0 {
		u.sized(size)
	}
	return in.Receive(ctx, u, u.try)
}

// Read implements io.Reader: it reads the archive as it arrives.
func (u *urlSource) Read(p []byte) (int, error) {
	n, err := u.download.Read(p)
	if err == nil && u.pace.tooSlow(time.Now(), n) {
		return n, &upload.SourceError{Kind: upload.ErrSourceSlow, Reason: "The archive arrived too slowly, while others waited. Try again later."}
	}
	return n, err
}

// ofFetch gives an error of a download its kind. limit is the archive's, in bytes.
func ofFetch(err error, limit int64) error {
	var e *fetch.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case errors.Is(e, fetch.ErrTooLarge):
		return &upload.SizeError{Limit: limit}
	case errors.Is(e, fetch.ErrTooSlow):
		return &upload.SourceError{Kind: upload.ErrSourceSlow, Reason: e.Reason, Err: err}
	case errors.Is(e, fetch.ErrUnreachable):
		return &upload.SourceError{Kind: upload.ErrSourceDown, Reason: e.Reason, Err: err}
	}
	return &upload.SourceError{Kind: upload.ErrSource, Reason: e.Reason, Err: err}
}
