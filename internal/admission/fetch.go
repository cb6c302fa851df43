package admission

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
// who comes back.
func (g *Gate) RefuseFetch(waiting int) *upload.BusyError {
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.busy(now, forFetch, after(float64(waiting+1), g.fetching.perSecond(now)))
}
