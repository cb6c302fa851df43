package main

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
	"strconv"
	"strings"
	"time"
)

const (
	boundary = "----------------------------loadtest"
	// answerTimeout is how long an upload may take with everything: longer than the server's own deadlines.
	answerTimeout = 10 * time.Minute
	// continueTimeout is how long a client waits for a 100 Continue before it sends its body all the same.
	continueTimeout = time.Second
	// continues begins a 100 Continue.
	continues = "HTTP/1.1 100"
	// peekTimeout is how long a client looks for an answer that may be there.
	peekTimeout = time.Millisecond
	// piece is how much a client sends at once, in bytes.
	piece = 32 << 10
	// A Retry-After is between these, in seconds.
	leastRetryAfter, mostRetryAfter = 1, 120
)

// ending is how an attempt ended.
type ending string

const (
	accepted ending = "accepted"
	overOwn  ending = "429"
	busy     ending = "503"
	hungUp   ending = "hung up"
	broken   ending = "broken" // whatever else: a broken promise
)

// An attempt is one request and what came of it.
type attempt struct {
	job        *job
	label      string
	ending     ending
	id         int64         // of an accepted upload
	whole      bool          // all of the body was sent
	began      time.Duration // since the run's beginning
	took       time.Duration // from the first byte to the answer
	retryAfter time.Duration
	reason     string // of a refusal
	err        error  // of a broken one
}

// refused reports whether it was answered that there is no room.
func (a *attempt) refused() bool { return a.ending == overOwn || a.ending == busy }

// denied tells why an attempt was not accepted.
func (a *attempt) denied() error {
	if a.err != nil {
		return a.err
	}
	return fmt.Errorf("%s: %s", a.ending, a.reason)
}

// An answer is the body of a 201, or of an error.
type answer struct {
	Error  string `json:"error"`
	Upload struct {
		ID       int64    `json:"id"`
		Size     int64    `json:"size"`
		User     string   `json:"user"`
		Uploaded []string `json:"uploaded_keys"`
		Skipped  []string `json:"skipped_keys"`
		Ignored  []string `json:"ignored_keys"`
	} `json:"upload"`
}

// A client makes one upload after the other.
type client struct {
	*planner
	tenant  *tenant
	address string
	begin   time.Time
	done    func(*attempt)
}

// run makes uploads until ctx ends, and finishes the one that it has begun by then within the context whole.
func (c *client) run(ctx, whole context.Context) {
	for ctx.Err() == nil {
		j := c.plan()
		wait(ctx, j.think)
		for n := 0; ctx.Err() == nil; n++ {
			a := c.attempt(whole, j, n)
			c.done(a)
			if !a.refused() || !c.patient() && n+1 >= mostAttempts {
				break
			}
			wait(ctx, j.backOff(n, c.patient(), a.retryAfter))
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// attempt posts the job's archive once.
func (c *client) attempt(ctx context.Context, j *job, n int) *attempt {
	begin := time.Now()
	a := &attempt{job: j, label: j.label(n), began: begin.Sub(c.begin)}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("no answer within %v", answerTimeout))
	defer cancel()
	if err := c.post(ctx, a); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = errors.Join(cause, err)
		}
		a.ending, a.err = broken, err
	}
	a.took = time.Since(begin)
	return a
}

func (c *client) post(ctx context.Context, a *attempt) (err error) {
	f, err := os.Open(a.job.template.file)
	if err != nil {
		return err
	}
	defer f.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	opening := fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=\"%[2]s\"; filename=\"%[2]s\"\r\n"+
		"Content-Type: application/octet-stream\r\n\r\n", boundary, a.filename())
	closing := "\r\n--" + boundary + "--\r\n"
	size := int64(len(opening)) + a.job.template.size + int64(len(closing))
	body := io.MultiReader(strings.NewReader(opening), a.job.template.variant(f, a.job.variant), strings.NewReader(closing))

	answers := bufio.NewReader(conn)
	send, err := c.head(conn, answers, a, size)
	if err != nil {
		return fmt.Errorf("send the header: %w", err)
	}
	if send {
		answered := func() (bool, error) { return false, nil }
		if a.job.expect {
			answered = func() (bool, error) { return arrived(conn, answers) }
		}
		if err := sendBody(ctx, conn, body, size, a, answered); err != nil {
			return fmt.Errorf("send the body: %w", err)
		}
	}
	if a.job.cut != nil {
		a.ending = hungUp
		wait(ctx, a.job.cut.linger)
		if a.job.cut.reset {
			return conn.(*net.TCPConn).SetLinger(0)
		}
		return nil
	}
	return c.read(answers, a)
}

func (a *attempt) filename() string { return a.label + a.job.template.extension() }

// head sends the request's header, and reports whether its body is to follow.
func (c *client) head(conn net.Conn, answers *bufio.Reader, a *attempt, size int64) (send bool, err error) {
	var head strings.Builder
	fmt.Fprintf(&head, "POST /upload/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuth-Token: %s-%s\r\n"+
		"Content-Type: multipart/form-data; boundary=%s\r\n", c.address, c.tenant.token, a.label, boundary)
	if a.job.chunked {
		head.WriteString("Transfer-Encoding: chunked\r\n")
	} else {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", size)
	}
	if a.job.expect {
		head.WriteString("Expect: 100-continue\r\n")
	}
	if _, err := io.WriteString(conn, head.String()+"\r\n"); err != nil || !a.job.expect {
		return true, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(continueTimeout)); err != nil {
		return false, err
	}
	line, err := answers.Peek(len(continues))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err, line = nil, []byte(continues)
	}
	return string(line) == continues, errors.Join(err, conn.SetReadDeadline(time.Time{}))
}

// arrived reports whether an answer is there that ends the sending of a body, as curl looks for one, which is
// who asks whether to send it; a 100 Continue is none.
func arrived(conn net.Conn, answers *bufio.Reader) (bool, error) {
	if err := conn.SetReadDeadline(time.Now().Add(peekTimeout)); err != nil {
		return false, err
	}
	line, err := answers.Peek(len(continues))
	if err == nil && string(line) == continues {
		var resp *http.Response
		if resp, err = http.ReadResponse(answers, nil); err == nil {
			err = resp.Body.Close() // it has none
		}
		line = nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return len(line) == len(continues), errors.Join(err, conn.SetReadDeadline(time.Time{}))
}

// sendBody sends a body of size bytes, or as much of it as the cut says, at the pace that the job says. It ends once
// the answer is there, for a client that looks.
func sendBody(ctx context.Context, conn io.Writer, body io.Reader, size int64, a *attempt, answered func() (bool, error)) error {
	limit := size
	if a.job.cut != nil {
		limit = int64(a.job.cut.share * float64(size))
	}
	buffer := make([]byte, piece)
	if a.job.send > 0 {
		// Some 50 pieces, or a small body would be sent at once.
		buffer = buffer[:max(64, min(piece, size/50))]
	}
	begin, sent := time.Now(), int64(0)
	for sent < limit {
		if stop, err := answered(); stop || err != nil {
			return err
		}
		n, err := body.Read(buffer[:min(int64(len(buffer)), limit-sent)])
		if err != nil {
			return err
		}
		if err := write(conn, buffer[:n], a.job.chunked); err != nil {
			return fmt.Errorf("%d of %d bytes sent: %w", sent, size, err)
		}
		sent += int64(n)
		if a.job.send > 0 {
			due := time.Duration(float64(a.job.send) * float64(sent) / float64(size))
			wait(ctx, due-time.Since(begin))
		}
	}
	if sent == size && a.job.chunked {
		if _, err := io.WriteString(conn, "0\r\n\r\n"); err != nil {
			return fmt.Errorf("end the chunks: %w", err)
		}
	}
	a.whole = sent == size
	return nil
}

func write(conn io.Writer, p []byte, chunked bool) error {
	if !chunked {
		_, err := conn.Write(p)
		return err
	}
	_, err := (&net.Buffers{fmt.Appendf(nil, "%x\r\n", len(p)), p, []byte("\r\n")}).WriteTo(conn)
	return err
}

// read reads the answer and judges it.
func (c *client) read(answers *bufio.Reader, a *attempt) error {
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
	var said answer
	if err := json.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("the answer is no JSON: %d %.200q", resp.StatusCode, text)
	}
	switch resp.StatusCode {
	case http.StatusCreated:
		a.ending, a.id = accepted, said.Upload.ID
		return c.judge(a.job.template, said)
	case http.StatusTooManyRequests:
		a.ending = overOwn
	case http.StatusServiceUnavailable:
		a.ending = busy
	default:
		return fmt.Errorf("an answer that is no refusal: %d %.200q", resp.StatusCode, text)
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < leastRetryAfter || seconds > mostRetryAfter {
		return fmt.Errorf("a %d with Retry-After: %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	a.retryAfter, a.reason = time.Duration(seconds)*time.Second, said.Error
	if said.Error == "" || resp.Header.Get("Content-Type") != "application/json" {
		return fmt.Errorf("a %d that gives no reason: %.200q", resp.StatusCode, text)
	}
	return nil
}

// judge compares a 201 with what was sent.
func (c *client) judge(t *template, said answer) error {
	u := said.Upload
	if u.ID <= 0 || u.Size != t.size || u.User != c.tenant.user() ||
		len(u.Uploaded)+len(u.Skipped) != len(t.members) || len(u.Ignored) != t.ignored {
		return fmt.Errorf("a 201 that tells of another upload than the %d bytes, %d members and %d listings of %s: "+
			"%d bytes, %d + %d members, %d listings of %s, id %d", t.size, len(t.members), t.ignored, c.tenant.user(),
			u.Size, len(u.Uploaded), len(u.Skipped), len(u.Ignored), u.User, u.ID)
	}
	return nil
}
