package gate

import "tecken-upload/internal/upload"

// Fetching tells that an upload has its turn to be fetched from elsewhere; ended is to be called once it has had it. From that
// RefuseFetch knows how fast turns come back.
func (g *Gate) Fetching() (ended func()) {
	g.changeFetching(1)
	return func() { g.changeFetching(-1) }
}

func (g *Gate) changeFetching(more float64) {
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fetching.change(now, more)
}

// RefuseFetch counts an upload that got no turn to be fetched, and makes its error. So many others wait, who have a turn before one
// who comes back. own says that turns are left, but its tenant has as many as one may have: that is its own limit, and no lack of this instance.
func (g *Gate) RefuseFetch(waiting int, own bool) *upload.BusyError {
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	wait := after(float64(waiting+1), g.fetching.perSecond(now))
	if !own {
		return g.busy(now, upload.LackFetch, wait)
	}
	err := g.refusal(upload.LackFetch, wait)
	err.OverLimit = true
	err.Reason = "This server is downloading as many archives for you as it does at a time. Try again later."
	return err
}
