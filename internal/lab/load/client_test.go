package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"tecken-upload/internal/lab"
)

// answerTimeout is how long an upload may take with everything: longer than the server's own deadlines.
const answerTimeout = 10 * time.Minute

// A tenant is a token and its clients.
type tenant struct {
	name   string
	weight int
	share  int // of 100 clients
	token  string
}

// newTenants returns those of a run: one has most of the clients, as in the field.
func newTenants() []*tenant {
	return []*tenant{
		{name: "bulk", weight: 2, share: 70},
		{name: "heavy", weight: 3, share: 10},
		{name: "light", weight: 1, share: 10},
		{name: "other", weight: 1, share: 10},
	}
}

func (t *tenant) user() string { return t.name + "@example.com" }

// An ending is how an attempt ended.
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
	lab.Attempt
	tenant *tenant
	ending ending
	began  time.Duration // since the run's beginning
	took   time.Duration // from the first byte to the answer
	err    error         // of a broken one
}

// judge finds out how an attempt ended.
func (a *attempt) judge() {
	a.err = a.Contradiction(a.Upload)
	switch {
	case errors.Is(a.Lost, lab.ErrLeft):
		a.ending = hungUp
		return
	case a.Lost != nil:
		a.err = a.Lost
	case a.err != nil:
	case a.Status == http.StatusCreated && a.User != a.tenant.user():
		a.err = fmt.Errorf("the upload of %s is told to be of %s", a.tenant.user(), a.User)
	case a.Status == http.StatusCreated:
		a.ending = accepted
		return
	case a.Status == http.StatusTooManyRequests, a.Status == http.StatusServiceUnavailable:
		a.ending = ending(strconv.Itoa(a.Status))
		return
	default:
		a.err = fmt.Errorf("an answer that is no refusal: %v", a.Answer)
	}
	a.ending = broken
}

// refused reports whether it was answered that there is no room.
func (a *attempt) refused() bool { return a.ending == overOwn || a.ending == busy }

// denied returns why an attempt was not accepted.
func (a *attempt) denied() error {
	if a.err != nil {
		return a.err
	}
	return errors.New(a.String())
}

// A client makes one upload after the other.
type client struct {
	*planner
	*load
	tenant *tenant
}

// run makes uploads until ctx ends, and finishes the one that it has begun by then.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		j := c.plan()
		lab.Pause(ctx, j.think)
		for n := 0; ctx.Err() == nil; n++ {
			a := c.attempt(j, n)
			c.done(a)
			if !a.refused() || !c.patient() && n+1 >= mostAttempts {
				break
			}
			pause := j.backOff(n)
			if seconds, err := strconv.Atoi(a.RetryAfter); err == nil && c.patient() {
				pause = time.Duration(seconds) * time.Second
			}
			lab.Pause(ctx, pause)
		}
	}
}

// attempt posts the job's archive once.
func (c *client) attempt(j *job, n int) *attempt {
	a := &attempt{Attempt: lab.Attempt{Upload: j.upload}, tenant: c.tenant, ending: broken}
	a.Label, a.Token = j.label(n), c.tenant.token
	if a.Archive, a.err = j.archive(); a.err != nil {
		return a
	}
	ctx, cancel := context.WithTimeout(c.Context(), answerTimeout)
	defer cancel()
	begin := time.Now()
	a.began = begin.Sub(c.begin)
	a.Answer = c.server.Post(ctx, a.Upload)
	a.took = time.Since(begin)
	a.judge()
	return a
}

// quietUploads is how many uploads each tenant makes of a server with nothing else to do: enough that a refusal in twenty for no reason is
// seen.
const quietUploads = 25

// quiet makes uploads that are not cut off, and returns them.
func (c *client) quiet() (made []*attempt) {
	for len(made) < quietUploads {
		j := c.plan()
		j.upload.Ending, j.upload.Send = lab.Waits, 0
		made = append(made, c.attempt(j, 0))
	}
	return made
}

func TestEndings(t *testing.T) {
	archive := &lab.Archive{Size: 10}
	mine := &tenant{name: "a"}
	for _, c := range []struct {
		name   string
		answer lab.Answer
		want   ending
	}{
		{"accepted", lab.Answer{Status: 201, ID: 7, Size: 10, User: "a@example.com"}, accepted},
		{"another size", lab.Answer{Status: 201, ID: 7, Size: 11, User: "a@example.com"}, broken},
		{"another user", lab.Answer{Status: 201, ID: 7, Size: 10, User: "b@example.com"}, broken},
		{"busy", lab.Answer{Status: 503, RetryAfter: "120", Error: "Busy."}, busy},
		{"over its limit", lab.Answer{Status: 429, RetryAfter: "1", Error: "Busy."}, overOwn},
		{"for how long?", lab.Answer{Status: 503, Error: "Busy."}, broken},
		{"too long", lab.Answer{Status: 503, RetryAfter: "121", Error: "Busy."}, broken},
		{"an error", lab.Answer{Status: 500, Error: "Oops."}, broken},
		{"too late", lab.Answer{Status: 504, Error: "Late."}, broken},
		{"hung up", lab.Answer{Lost: fmt.Errorf("%w: reset", lab.ErrLeft)}, hungUp},
		{"a connection that broke", lab.Answer{Lost: errors.New("reset by peer")}, broken},
	} {
		a := &attempt{Attempt: lab.Attempt{Upload: lab.Upload{Archive: archive}, Answer: c.answer}, tenant: mine}
		a.judge()
		if a.ending != c.want || (a.err != nil) != (c.want == broken) {
			t.Errorf("%s: %s, %v", c.name, a.ending, a.err)
		}
	}
}
