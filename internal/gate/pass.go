package gate

import (
	"slices"
	"time"

	"tecken-upload/internal/upload"
)

// A tenant is known while it has visits that wait or are inside. Gate.mu guards its fields, but for id.
type tenant struct {
	id      int64
	weight  int
	limit   int // uploads at once
	leases  int // held here
	taking  int // visits that wait for a lease
	waiting []*visit
	inside  map[*visit]struct{}
	places  int   // receiving places taken
	bytes   int64 // sizes of the uploads admitted
	ends    turnover
	refused time.Time // when one that had a lease was last refused for room
}

// present reports whether the tenant has a share of the instance.
func (t *tenant) present() bool { return len(t.inside)+len(t.waiting) > 0 }

// idle reports whether t has leases that are of no upload in progress: those who have them wait for room, or were refused it just
// now.
func (t *tenant) idle(now time.Time) bool {
	return t.leases > len(t.inside) || now.Sub(t.refused) < returning
}

// load is what the tenant has for its weight.
func (t *tenant) load() float64 { return float64(t.bytes) / float64(t.weight) }

// left is what the tenant's admitted uploads have not been dealt with, in bytes.
func (t *tenant) left() (sum int64) {
	for v := range t.inside {
		sum += v.left
	}
	return sum
}

// stage is how far a visit has come.
type stage int

const (
	taking  stage = iota // waits for a lease
	waiting              // waits for room
	inside               // admitted
	gone                 // refused, or has left
)

// A visit is one upload at the gate. Gate.mu guards what is below it.
type visit struct {
	gate     *Gate
	tenant   *tenant
	limit    int   // of the tenant's uploads
	declared int64 // bytes, or -1
	deadline time.Time
	order    int64         // of arrival
	answered chan struct{} // closed once it is inside, or refused

	stage    stage
	seen     bool   // has been considered, and found to lack something
	err      error  // why it was refused
	release  func() // gives the lease back; nil where there is none
	place    bool   // has a receiving place
	size     int64  // bytes it counts as
	left     int64  // bytes of these not dealt with
	promised int64  // bytes it is about to reserve in the spool
}

// arrive begins a visit, unless too many wait already.
func (g *Gate) arrive(token *upload.Token, size int64) (*visit, error) {
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenants[token.ID]
	if t == nil {
		t = &tenant{id: token.ID, inside: make(map[*visit]struct{}), ends: turnover{at: now}}
	}
	t.weight = max(1, token.Weight)
	t.limit = max(1, g.config.TenantUploads) * t.weight
	if t.taking+len(t.waiting) >= maxWaiting-g.taking-g.waiting {
		return nil, g.refuseQueue(t, now)
	}
	g.arrivals++
	v := &visit{
		gate: g, tenant: t, limit: t.limit, declared: size, deadline: now.Add(g.config.Wait), order: g.arrivals,
		answered: make(chan struct{}), size: size,
	}
	if size < 0 {
		v.size = unknownSize
	}
	g.tenants[t.id] = t
	t.taking++
	g.taking++
	return v, nil
}

// hold keeps the lease until v leaves.
func (v *visit) hold(release func()) {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	v.release = release
	v.tenant.leases++
	v.gate.leases++
}

// queue puts v in line for room. Called with mu held.
func (v *visit) queue() {
	g := v.gate
	v.out()
	v.stage = waiting
	// By arrival, not by when the lease came.
	at, _ := slices.BinarySearchFunc(v.tenant.waiting, v.order, func(other *visit, order int64) int { return int(other.order - order) })
	v.tenant.waiting = slices.Insert(v.tenant.waiting, at, v)
	g.waiting++
}

// admit lets v in. Called with mu held.
func (v *visit) admit(now time.Time, need int64) {
	g, t := v.gate, v.tenant
	v.out()
	v.stage, v.place, v.left, v.promised = inside, true, v.size, need
	t.inside[v] = struct{}{}
	t.places++
	t.bytes += v.size
	t.ends.change(now, 1)
	g.inside.change(now, 1)
	g.places.change(now, 1)
	g.bytes.change(now, float64(v.size))
	g.unfinished += v.left
	g.promised += need
	close(v.answered)
}

// refuse ends v's wait with err. Called with mu held.
func (v *visit) refuse(err error) {
	v.out()
	v.stage, v.err = gone, err
	close(v.answered)
}

// out takes v out of the line it waits in. Called with mu held.
func (v *visit) out() {
	switch v.stage {
	case taking:
		v.tenant.taking--
		v.gate.taking--
	case waiting:
		v.tenant.waiting = slices.DeleteFunc(v.tenant.waiting, func(other *visit) bool { return other == v })
		v.gate.waiting--
	case inside, gone:
	}
}

// created tells that v's room is reserved in the spool, or won't be.
func (v *visit) created() {
	g := v.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	g.promised -= v.promised
	v.promised = 0
	g.changed()
}

// sized is the Sized of v's place.
func (v *visit) sized(size int64) {
	g := v.gate
	now, saturated := g.config.Now(), g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.stage == inside && v.place {
		g.work.advance(now, saturated)
		v.resize(now, size)
		g.changed()
	}
}

// arrived is the Arrived of v's place.
func (v *visit) arrived(size int64) {
	g := v.gate
	now, saturated := g.config.Now(), g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.stage != inside || !v.place {
		return
	}
	g.work.advance(now, saturated)
	v.givePlaceBack(now)
	v.resize(now, size)
	g.changed()
}

// grown is told of the room that v has in the spool, where it becomes more: nobody knew its size.
func (v *visit) grown(reserved int64) {
	g := v.gate
	now := g.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.stage == inside && reserved > v.size {
		v.resize(now, reserved)
	}
}

// resize makes v count as so many bytes. Called with mu held.
func (v *visit) resize(now time.Time, size int64) {
	more := size - v.size
	v.size += more
	v.tenant.bytes += more
	v.gate.bytes.correct(now, float64(more))
	v.finish(v.left - max(0, v.left+more))
}

// worked is the Worked of v's place.
func (v *visit) worked(bytes int64) {
	g := v.gate
	now, saturated := g.config.Now(), g.config.Saturated()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.work.worked(now, saturated, bytes)
	if v.stage == inside {
		v.finish(min(bytes, v.left))
		if g.timely {
			g.changed()
		}
	}
}

// leave is the Leave of v's place. It gives back whatever v has, wherever it is; calling it again does nothing.
func (v *visit) leave() {
	g := v.gate
	now, saturated := g.config.Now(), g.config.Saturated()
	g.mu.Lock()
	g.work.advance(now, saturated)
	v.exit(now)
	release := v.release
	v.release = nil
	if release != nil {
		v.tenant.leases--
		g.leases--
	}
	g.changed()
	g.mu.Unlock()
	if release != nil {
		release()
	}
}

// exit ends v. Called with mu held.
func (v *visit) exit(now time.Time) {
	g, t := v.gate, v.tenant
	v.out()
	if v.stage == inside {
		v.givePlaceBack(now)
		v.finish(v.left)
		g.promised -= v.promised
		v.promised = 0
		delete(t.inside, v)
		t.bytes -= v.size
		t.ends.change(now, -1)
		g.inside.change(now, -1)
		g.bytes.change(now, -float64(v.size))
	}
	v.stage = gone
	// Another may be known by then: t is forgotten when its last refused visit has not left yet.
	if t.taking == 0 && !t.present() && g.tenants[t.id] == t {
		delete(g.tenants, t.id)
	}
}

// givePlaceBack gives the receiving place back, if v has it still. Called with mu held.
func (v *visit) givePlaceBack(now time.Time) {
	if v.place {
		v.place = false
		v.tenant.places--
		v.gate.places.change(now, -1)
	}
}

// finish takes bytes off what is left to do. Called with mu held.
func (v *visit) finish(bytes int64) {
	v.left -= bytes
	v.gate.unfinished -= bytes
}
