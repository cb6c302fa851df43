package gate

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tecken-upload/internal/background"
	"tecken-upload/internal/spool"
)

// panicking is a spool; the first measurements of it panic.
type panicking struct {
	Spool
	times int
}

func (p *panicking) Usage(ctx context.Context) (spool.Usage, error) {
	if p.times > 0 {
		p.times--
		panic("measuring")
	}
	return p.Spool.Usage(ctx)
}

// The line has one usher. A panic in it keeps uploads out until it goes on, and no longer.
func TestTheLineGoesOnAfterAPanic(t *testing.T) {
	var told []string
	background.OnPanic(func(name string, p *background.PanicError) { told = append(told, name+" "+p.Error()) })
	t.Cleanup(func() { background.OnPanic(nil) })
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.Spool = &panicking{Spool: c.Spool, times: 2} })
		r := <-h.try(t.Context(), tenantOf(1, 1), 1)
		if r.at != 3*time.Second {
			t.Errorf("let in after %v", r.at)
		}
		r.end()
		h.enter(1, 1).end()
	})
	if want := []string{"gate panic: measuring", "gate panic: measuring"}; !slices.Equal(told, want) {
		t.Errorf("told of %q", told)
	}
}
