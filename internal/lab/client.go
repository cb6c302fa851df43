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
	// pieces is in how many parts a body is sent that takes its time.
	pieces = 20
	// answerLimit bounds what is read of an answer, in bytes.
	answerLimit = 4 << 20
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

// An Upload is one request of a client.
type Upload struct {
	Label   string // tells it from all others; it is recorded
	Token   string
	Archive *Archive
	Send    time.Duration // how long to take for the body; 0: as fast as may be
	Ending  Ending
	Share   float64       // of the body that is sent before the ending; 1: all of it
	Pause   time.Duration // of one that stalls; of others between the last byte and the ending
}

// An Answer is what became of an upload, as its client sees it.
type Answer struct {
	Whole      bool // all of the body was sent
	Status     int  // 0: there is no answer
	RetryAfter string
	Error      string // the server's sentence
	ID, Size   int64
	Uploaded   []string
	Skipped    []string
	Ignored    []string
	Lost       error // why there is no answer
}

// Post sends an upload to the server at address ("host:port"), over a connection of its own. Like clients in the field it sends all
// of the body before it reads the answer.
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
	body := u.body()
	_, err = fmt.Fprintf(conn, "POST /upload/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuth-Token: %s-%s\r\n"+
		"Content-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\n\r\n", address, u.Token, u.Label, boundary, len(body))
	if err != nil {
		return fmt.Errorf("send the header: %w", err)
	}
	if err := u.send(ctx, conn, body, a); err != nil {
		return fmt.Errorf("send the body: %w", err)
	}
	if u.Ending == Waits || u.Ending == Stalls {
		return a.read(conn)
	}
	Pause(ctx, u.Pause)
	if u.Ending == Resets {
		_ = conn.(*net.TCPConn).SetLinger(0) // it may be broken already
	}
	return errors.New(string(u.Ending))
}

// body is the form.
func (u Upload) body() []byte {
	head := fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=\"%[2]s\"; filename=\"%[2]s\"\r\n"+
		"Content-Type: application/octet-stream\r\n\r\n", boundary, u.Archive.Filename)
	return slices.Concat([]byte(head), u.Archive.Content, []byte("\r\n--"+boundary+"--\r\n"))
}

// send sends as much of the body as the ending says, at its pace.
func (u Upload) send(ctx context.Context, conn io.Writer, body []byte, a *Answer) error {
	until := len(body)
	if u.Ending != Waits {
		until = int(u.Share * float64(len(body)))
	}
	if err := u.sendPaced(ctx, conn, body[:until], len(body)); err != nil {
		return err
	}
	if u.Ending == Stalls {
		Pause(ctx, u.Pause)
		if err := u.sendPaced(ctx, conn, body[until:], len(body)); err != nil {
			return err
		}
		until = len(body)
	}
	a.Whole = until == len(body)
	return nil
}

// sendPaced sends a part of a body of so many bytes.
func (u Upload) sendPaced(ctx context.Context, conn io.Writer, part []byte, whole int) error {
	step := len(part)
	if u.Send > 0 {
		step = max(1, whole/pieces)
	}
	for len(part) > 0 {
		n := min(step, len(part))
		if _, err := conn.Write(part[:n]); err != nil {
			return err
		}
		part = part[n:]
		Pause(ctx, u.Send/pieces)
	}
	return nil
}

// read reads the answer.
func (a *Answer) read(conn io.Reader) error {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
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
			Uploaded []string `json:"uploaded_keys"`
			Skipped  []string `json:"skipped_keys"`
			Ignored  []string `json:"ignored_keys"`
		}
	}
	a.Status, a.RetryAfter = resp.StatusCode, resp.Header.Get("Retry-After")
	if err := json.Unmarshal(text, &said); err != nil {
		a.Error = fmt.Sprintf("the answer is no JSON: %.200q", text)
		return nil
	}
	a.Error, a.ID, a.Size = said.Error, said.Upload.ID, said.Upload.Size
	a.Uploaded, a.Skipped, a.Ignored = said.Upload.Uploaded, said.Upload.Skipped, said.Upload.Ignored
	return nil
}

// Contradiction returns what in the answer can't be so, whatever has befallen the server; nil where nothing.
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
		if seconds, err := strconv.Atoi(a.RetryAfter); err == nil && seconds > 0 && a.Error != "" {
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
	case a.ID <= 0, a.Size != int64(len(u.Archive.Content)), len(a.Ignored) != u.Archive.Ignored, !slices.Equal(named, sent):
		return fmt.Errorf("upload %d is not what was sent: %d bytes of %d, ignored %q, named\n%s\ninstead of\n%s",
			a.ID, a.Size, len(u.Archive.Content), a.Ignored, strings.Join(named, "\n"), strings.Join(sent, "\n"))
	}
	return nil
}

// Pause waits for so long, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
