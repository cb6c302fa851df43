package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	boundary = "--------------------------------lab"
	// pieces is the number of parts of a slowly sent body, pieceSize the largest size of a part.
	pieces, pieceSize = 50, 32 << 10
	// answerLimit bounds the reading of an answer, in bytes.
	answerLimit = 4 << 20
	// mostRetryAfter is the largest Retry-After, in seconds.
	mostRetryAfter = 120
)

// An Ending is how a client ends an upload.
type Ending string

// The endings.
const (
	Waits  Ending = ""                   // for its answer, with all of the body sent
	Closes Ending = "connection closed"  // instead of the rest of the body, or of waiting for the answer
	Resets Ending = "connection reset"   // the same, with a reset
	Stalls Ending = "client that stalls" // sends nothing for a while in the middle of the body, then waits for its answer
)

// ErrLeft is wrapped by the error of an upload after its client left without an answer.
var ErrLeft = errors.New("the client left")

// An Upload is one request of a client.
type Upload struct {
	Label   string // unique, and recorded; "": none
	Token   string
	Archive *Archive
	Send    time.Duration // time to send the body; 0: as fast as possible
	Ending  Ending
	Share   float64       // of the body sent before the ending, and before Midway; 1: all
	Pause   time.Duration // of a stalling upload; of others between the last byte and the ending
	Midway  func()        // called after that share is sent; may be nil
	Chunked bool          // without a declared size
	Async   bool          // it prefers not to wait for the end
	Expect  bool          // it expects a 100 Continue, and looks for an answer meanwhile, as curl does
}

// An Answer is an upload's result for its client.
type Answer struct {
	Whole      bool // the whole body was sent
	Status     int  // 0: no answer
	RetryAfter string
	Location   string // of the state of an upload that is not waited for
	Closes     bool   // the server closes the connection
	Error      string // the server's sentence
	ID, Size   int64
	User       string
	Uploaded   []string
	Skipped    []string
	Ignored    []string
	Lost       error // why there is no answer
}

// String implements fmt.Stringer.
func (a Answer) String() string {
	switch {
	case a.Lost != nil:
		return fmt.Sprintf("nothing (%v)", a.Lost)
	case a.Error == "":
		return strconv.Itoa(a.Status)
	default:
		return fmt.Sprintf("%d, Retry-After: %s, %q", a.Status, a.RetryAfter, a.Error)
	}
}

// Post sends an upload to the server at address ("host:port"), over a connection of its own. Like clients in the field it sends the whole
// body before it reads the answer.
func Post(ctx context.Context, address string, u Upload) (a Answer) {
	a.Lost = post(ctx, address, u, &a)
	if a.Lost != nil && ctx.Err() != nil {
		a.Lost = errors.Join(context.Cause(ctx), a.Lost)
	}
	return a
}

func post(ctx context.Context, address string, u Upload, a *Answer) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	token := u.Token
	if u.Label != "" {
		token += "-" + u.Label
	}
	body, size := u.body()
	head := fmt.Sprintf("POST /upload/ HTTP/1.1\r\nHost: %s\r\nAuth-Token: %s\r\nContent-Type: multipart/form-data; boundary=%s\r\n",
		address, token, boundary)
	if u.Async {
		head += "Prefer: respond-async\r\n"
	}
	c := exchange{Conn: conn, answers: bufio.NewReader(conn), chunked: u.Chunked, looks: u.Expect}
	if err := c.begin(head, size); err != nil {
		return fmt.Errorf("send the header: %w", err)
	}
	if a.Whole, err = u.send(ctx, &c, body, size); err != nil && !errors.Is(err, errAnswered) {
		return fmt.Errorf("send the body: %w", err)
	}
	if u.Ending == Waits || u.Ending == Stalls {
		return a.read(c.answers)
	}
	Pause(ctx, u.Pause)
	if u.Ending == Resets {
		_ = conn.(*net.TCPConn).SetLinger(0) // it may be broken already
	}
	return fmt.Errorf("%w: %s", ErrLeft, u.Ending)
}

// body returns the form and its size.
func (u Upload) body() (io.Reader, int64) {
	head := fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=\"%[2]s\"; filename=\"%[2]s\"\r\n"+
		"Content-Type: application/octet-stream\r\n\r\n", boundary, u.Archive.Filename)
	tail := "\r\n--" + boundary + "--\r\n"
	return io.MultiReader(strings.NewReader(head), u.Archive.Reader(), strings.NewReader(tail)), int64(len(head)) + u.Archive.Size + int64(len(tail))
}

// send sends a body of that size as far as the ending allows, and reports whether that is all of it.
func (u Upload) send(ctx context.Context, conn *exchange, body io.Reader, size int64) (whole bool, err error) {
	part := size
	if u.Ending != Waits || u.Midway != nil {
		part = int64(u.Share * float64(size))
	}
	if err := u.sendPaced(ctx, conn, body, part, size); err != nil {
		return false, err
	}
	if u.Midway != nil {
		u.Midway()
	}
	if u.Ending == Stalls {
		Pause(ctx, u.Pause)
	}
	if u.Ending == Waits || u.Ending == Stalls {
		err = u.sendPaced(ctx, conn, body, size-part, size)
		part = size
	}
	if whole = part == size && err == nil; whole {
		err = conn.end()
	}
	return whole, err
}

// sendPaced sends the next n bytes of a body of size bytes.
func (u Upload) sendPaced(ctx context.Context, conn io.Writer, body io.Reader, n, size int64) error {
	buffer := make([]byte, pieceSize)
	if u.Send > 0 {
		buffer = buffer[:min(pieceSize, max(1, size/pieces))]
	}
	begin := time.Now()
	for sent := int64(0); sent < n; {
		got, err := io.ReadFull(body, buffer[:min(int64(len(buffer)), n-sent)])
		if err == nil {
			_, err = conn.Write(buffer[:got])
		}
		if err != nil {
			return fmt.Errorf("%d of %d bytes sent: %w", sent, size, err)
		}
		sent += int64(got)
		Pause(ctx, time.Duration(float64(u.Send)*float64(sent)/float64(size))-time.Since(begin))
	}
	return nil
}

// read reads the answer.
func (a *Answer) read(answers *bufio.Reader) error {
	resp, err := http.ReadResponse(answers, nil)
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(answers, nil)
	}
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return fmt.Errorf("read the answer, a %d: %w", resp.StatusCode, err)
	}
	var said struct {
		Error  string
		Upload struct {
			ID, Size int64
			User     string
			Uploaded []string `json:"uploaded_keys"`
			Skipped  []string `json:"skipped_keys"`
			Ignored  []string `json:"ignored_keys"`
		}
	}
	a.Status, a.RetryAfter, a.Closes = resp.StatusCode, resp.Header.Get("Retry-After"), resp.Close
	a.Location = resp.Header.Get("Location")
	if err := json.Unmarshal(text, &said); err != nil {
		a.Error = fmt.Sprintf("the answer is no JSON: %.200q", text)
		return nil
	}
	a.Error, a.ID, a.Size, a.User = said.Error, said.Upload.ID, said.Upload.Size, said.Upload.User
	a.Uploaded, a.Skipped, a.Ignored = said.Upload.Uploaded, said.Upload.Skipped, said.Upload.Ignored
	return nil
}

// Contradiction returns what is impossible in the answer, whatever happened to the server; nil for nothing.
func (a Answer) Contradiction(u Upload) error {
	switch a.Status {
	case 0:
		if errors.Is(a.Lost, os.ErrDeadlineExceeded) || errors.Is(a.Lost, context.DeadlineExceeded) {
			return fmt.Errorf("no answer: %w", a.Lost)
		}
		return nil
	case http.StatusCreated:
		return a.checkCreated(u)
	case http.StatusBadRequest:
		if u.Archive.Broken {
			return nil
		}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if seconds, err := strconv.Atoi(a.RetryAfter); err == nil && seconds > 0 && seconds <= mostRetryAfter && a.Error != "" {
			return nil
		}
	case http.StatusInternalServerError, http.StatusGatewayTimeout:
		if a.Error != "" {
			return nil
		}
	}
	return fmt.Errorf("answered %d, Retry-After %q: %s", a.Status, a.RetryAfter, a.Error)
}

func (a Answer) checkCreated(u Upload) error {
	named := slices.Sorted(slices.Values(slices.Concat(a.Uploaded, a.Skipped)))
	var sent []string
	for _, m := range u.Archive.Members {
		sent = append(sent, m.Name)
	}
	slices.Sort(sent)
	switch {
	case u.Archive.Broken:
		return fmt.Errorf("a broken archive was accepted as upload %d", a.ID)
	case a.ID <= 0, a.Size != u.Archive.Size, len(a.Ignored) != u.Archive.Ignored, !slices.Equal(named, sent):
		return fmt.Errorf("upload %d is not what was sent: %d bytes of %d, ignored %q, named\n%s\ninstead of\n%s",
			a.ID, a.Size, u.Archive.Size, a.Ignored, strings.Join(named, "\n"), strings.Join(sent, "\n"))
	}
	return nil
}
