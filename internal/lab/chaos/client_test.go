package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

const (
	// attempts is how often a client sends an archive before it gives up, and firstBackOff what it waits after the first: a tenth of
	// what clients in the field do.
	attempts     = 6
	firstBackOff = 100 * time.Millisecond
	// answerTimeout is far more than the server's own deadlines are together.
	answerTimeout = 90 * time.Second
	// faulty is how many of 100 attempts do not end as they should.
	faulty = 25
	// stall is longer than the server lets a client send nothing.
	stall = 1500 * time.Millisecond
	// sharedArchives are sent by all clients, movingArchives by one with other content each time.
	sharedArchives, movingArchives = 6, 2
)

// A client uploads one archive after the other.
type client struct {
	*round
	name   string
	token  string
	number int
	random *rand.Rand
	sent   int // archives
}

// work uploads until ctx ends, and finishes the attempt that it has begun by then.
func (c *client) work(ctx context.Context) {
	for ctx.Err() == nil {
		archive := c.next()
		backOff := firstBackOff
		for n := range attempts {
			u := c.upload(archive, n)
			c.misbehave(&u)
			if status := c.post(u).Status; status == http.StatusCreated || status == http.StatusBadRequest || ctx.Err() != nil {
				break
			}
			lab.Pause(ctx, time.Duration((0.5+c.random.Float64())*float64(backOff)))
			backOff *= 2
		}
	}
}

// insist uploads a new archive until it is accepted, without any fault of its own.
func (c *client) insist(ctx context.Context) {
	c.sent++
	archive := c.archive(c.spec(c.seed()))
	n := 0
	err := lab.Await(ctx, func(context.Context) error {
		answer := c.post(c.upload(archive, n))
		n++
		if answer.Status == http.StatusCreated {
			return nil
		}
		return fmt.Errorf("%d %s (%w)", answer.Status, answer.Error, answer.Lost)
	})
	if err != nil {
		c.Errorf("with no fault left client %s is not served: %v", c.name, err)
	}
}

// post makes one attempt.
func (c *client) post(u lab.Upload) lab.Answer {
	ctx, cancel := context.WithTimeoutCause(c.Context(), answerTimeout, context.DeadlineExceeded)
	defer cancel()
	a := lab.Attempt{Upload: u, Begun: c.site.Server.Life()}
	a.Answer = c.site.Instance().Post(ctx, u)
	a.Over = c.site.Server.Life()
	c.done(a)
	return a.Answer
}

func (c *client) upload(a *lab.Archive, n int) lab.Upload {
	u := lab.Upload{Label: fmt.Sprintf("r%d.%s.u%d.a%d", c.round.number, c.name, c.sent, n), Token: c.token, Archive: a}
	if c.random.IntN(100) < 30 {
		u.Send = between(c.random, 100*time.Millisecond, 1500*time.Millisecond)
	}
	return u
}

// misbehave decides whether an attempt ends as it should, and how it ends if not.
func (c *client) misbehave(u *lab.Upload) {
	if c.random.IntN(100) >= faulty {
		return
	}
	u.Ending = []lab.Ending{lab.Closes, lab.Closes, lab.Resets, lab.Resets, lab.Stalls}[c.random.IntN(5)]
	u.Share = c.random.Float64()
	switch {
	case u.Ending == lab.Stalls:
		u.Pause = stall
	case c.random.IntN(3) == 0: // the answer is not waited for
		u.Share, u.Pause = 1, time.Duration(c.random.Int64N(int64(200*time.Millisecond)))
	}
}

// next makes the client's next archive: of its own, one that all clients send, one with other content than it had before, or one
// that is broken.
func (c *client) next() *lab.Archive {
	c.sent++
	spec, n := c.spec(c.seed()), c.random.IntN(100)
	switch {
	case n < 20:
		spec = testarchive.Spec{Seed: uint64(1 + c.random.IntN(sharedArchives)), Bytes: 300_000, Members: 12}
	case n < 40:
		spec = testarchive.Spec{
			Seed: uint64(1000*(c.number+1) + c.random.IntN(movingArchives)), Version: uint64(c.sent), Bytes: 200_000, Members: 8,
		}
	case n < 45:
		spec.Format = testarchive.Zip
		archive := c.archive(spec)
		archive.Break()
		return archive
	}
	return c.archive(spec)
}

func (c *client) archive(spec testarchive.Spec) *lab.Archive {
	archive, err := lab.NewArchive(spec)
	if err != nil {
		c.Fatal(err)
	}
	return archive
}

// seed is another one for each archive of a round.
func (c *client) seed() uint64 { return uint64(1_000_000*(c.number+1) + c.sent) }

// spec makes up an archive.
func (c *client) spec(seed uint64) testarchive.Spec {
	s := testarchive.Spec{
		Seed:    seed,
		Bytes:   30_000 << c.random.IntN(7), // to 2 MB
		Members: 4 + c.random.IntN(30),
		Mix:     []testarchive.Mix{testarchive.RealMix, testarchive.PlainMix, testarchive.OnlySym}[c.random.IntN(3)],
		Level:   1,
		Listing: c.random.IntN(4) == 0,
	}
	s.Format = []testarchive.Format{
		testarchive.Zip, testarchive.Zip, testarchive.Zip, testarchive.Tar, testarchive.TarGzip, testarchive.TarZstd,
	}[c.random.IntN(6)]
	s.Store = c.random.IntN(8) == 0
	if c.random.IntN(12) == 0 { // its largest member is staged
		s.Bytes, s.Mix, s.Format, s.Store = 20<<20, testarchive.RealMix, testarchive.Zip, false
	}
	return s
}
