package load

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tecken-upload/internal/lab"
	"tecken-upload/internal/testarchive"
)

// How a client behaves, in shares of 100.
const (
	slowShare     = 10 // of uploads arrive over some seconds
	commonShare   = 27 // of uploads are of what others upload too, as in the field
	chunkedShare  = 10 // of uploads do not tell their size
	expectShare   = 10 // of uploads ask whether to send their body, as curl does
	largeShare    = 8  // of uploads
	patientShare  = 30 // of clients honour Retry-After, and do not give up
	commonCount   = 16 // variants of a template that are common
	common        = 0xffff
	firstBackOff  = time.Second
	mostAttempts  = 5 // of an impatient client: it gives up after about 15 s of back-off
	longestThink  = time.Second
	longestLinger = 2 * time.Second // of a client that goes after its last byte
)

const (
	// longTime is from when on a run has archives of hundreds of MB, shortTime from when on of tens.
	longTime, shortTime = time.Minute, 10 * time.Second
	// smallest is the size, in bytes, from which on an archive is a large one.
	smallest = 1_000_000
)

// specs are the archives of a run of so long. giants are the last.
func specs(seed uint64, length time.Duration) (all []testarchive.Spec, giants int) {
	tens, level := []int64{6_000_000, 12_000_000}, 1 // quick to make
	switch {
	case length >= longTime:
		tens, level = []int64{12_000_000, 24_000_000, 45_000_000}, 0
	case length < shortTime:
		tens = []int64{1_200_000}
	}
	for i, size := range []int64{3_000, 8_000, 20_000, 20_000, 60_000, 60_000, 150_000, 400_000} {
		all = append(all, testarchive.Spec{Bytes: size, Members: 3 + i, Mix: []testarchive.Mix{testarchive.RealMix, testarchive.PlainMix}[i%2], Listing: i%3 == 0})
	}
	all = append(all,
		testarchive.Spec{Bytes: 30_000, Members: 6, Format: testarchive.TarGzip},
		testarchive.Spec{Bytes: 120_000, Members: 8, Format: testarchive.TarGzip, Mix: testarchive.PlainMix},
		testarchive.Spec{Bytes: 100_000, Members: 5, Mix: testarchive.OnlySym, Store: true})
	for i, size := range tens {
		all = append(all, testarchive.Spec{Bytes: size, Members: 30 + 10*i, Level: level})
	}
	all = append(all,
		testarchive.Spec{Bytes: tens[0], Members: 12, Mix: testarchive.OnlySym, Store: true},
		testarchive.Spec{Bytes: tens[0], Members: 20, Format: testarchive.TarGzip, Level: level})
	if length >= longTime {
		giants = 2
		all = append(all,
			testarchive.Spec{Bytes: 220_000_000, Members: 104},
			testarchive.Spec{Bytes: 330_000_000, Members: 104, Mix: testarchive.PlainMix})
	}
	for i := range all {
		all[i].Seed = seed*1000 + uint64(i)
	}
	return all, giants
}

// A template is an archive that uploads are made of. A zip has variants; a tar.gz is sent as it is.
type template struct {
	*lab.Archive
	varied bool
}

func (t template) small() bool { return t.Size < smallest }

// A job is one upload as its client plans it. All jobs of a run follow from its seed.
type job struct {
	client, number int
	template       template
	variant        uint32
	upload         lab.Upload // but for its label, its token and its archive
	think          time.Duration
	jitter         float64 // of the back-off, 0.5 to 1.5
}

// A planner makes the jobs of one client.
type planner struct {
	client       int
	random       *rand.Rand
	small, large []template
	giant        *template // to be uploaded once; nil for most
	longest      time.Duration
	hangUps      int // of 100 uploads end before their answer
	next         int
}

// newPlanners makes those of all clients. giants are the last of the templates.
func newPlanners(o options, templates []template, giants int) []*planner {
	var small, large []template
	for _, t := range templates[:len(templates)-giants] {
		if t.small() {
			small = append(small, t)
		} else {
			large = append(large, t)
		}
	}
	planners := make([]*planner, o.clients)
	for i := range planners {
		planners[i] = &planner{
			client: i, small: small, large: large, hangUps: o.hangUps,
			random: rand.New(rand.NewPCG(o.seed, uint64(i)+1)), longest: min(20*time.Second, o.length/4),
		}
	}
	for i := range giants {
		// Of patient clients, and of different tenants.
		planners[min(len(planners)-1, i*len(planners)*8/10)].giant = &templates[len(templates)-giants+i]
	}
	return planners
}

// patient reports whether the client honours Retry-After.
func (p *planner) patient() bool { return p.client%10 < patientShare/10 }

// plan makes the next job.
func (p *planner) plan() *job {
	r := p.random
	chance := func(percent int) bool { return r.IntN(100) < percent }
	upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
	j := &job{client: p.client, number: p.next, template: p.small[r.IntN(len(p.small))]}
	p.next++
	if chance(largeShare) {
		j.template = p.large[r.IntN(len(p.large))]
	}
	j.variant = uint32(p.client)<<16 | uint32(j.number)
	if chance(commonShare) {
		j.variant = common<<16 | uint32(r.IntN(commonCount))
	}
	u := &j.upload
	if chance(slowShare) {
		u.Send = p.longest/8 + upTo(p.longest)
	}
	if chance(p.hangUps) {
		u.Ending, u.Share = []lab.Ending{lab.Closes, lab.Resets}[r.IntN(2)], r.Float64()
		if r.IntN(3) == 0 {
			u.Share, u.Pause = 1, upTo(longestLinger)
		}
	}
	u.Chunked, u.Expect = chance(chunkedShare), chance(expectShare)
	j.think, j.jitter = upTo(longestThink), 0.5+r.Float64()
	if p.giant != nil && j.number == 1 {
		j.template, u.Ending, u.Send = *p.giant, lab.Waits, 0
	}
	return j
}

// archive is what the job sends.
func (j *job) archive() (*lab.Archive, error) {
	if !j.template.varied {
		return j.template.Archive, nil
	}
	return j.template.Variant(j.variant)
}

// label tells the n-th attempt of a job from all others; it is recorded with the upload.
func (j *job) label(n int) string { return fmt.Sprintf("c%d.u%d.a%d", j.client, j.number, n) }

// backOff is how long to wait after the n-th refusal.
func (j *job) backOff(n int) time.Duration {
	return time.Duration(j.jitter * float64(firstBackOff<<n))
}

// What is sent follows from the seed alone.
func TestJobs(t *testing.T) {
	plans := func(seed uint64) (all []job) {
		specs, giants := specs(seed, longTime)
		templates := make([]template, len(specs))
		for i, spec := range specs {
			templates[i] = template{&lab.Archive{Filename: fmt.Sprint(i), Size: spec.Bytes}, true}
		}
		for _, p := range newPlanners(options{clients: 20, seed: seed, length: longTime, hangUps: 10}, templates, giants) {
			for range 50 {
				all = append(all, *p.plan())
			}
		}
		return all
	}
	compare := cmp.AllowUnexported(job{}, template{})
	if diff := cmp.Diff(plans(1), plans(1), compare); diff != "" {
		t.Errorf("one seed, two plans:\n%s", diff)
	}
	if cmp.Equal(plans(1), plans(2), compare) {
		t.Error("two seeds, one plan")
	}
	count := make(map[string]int)
	for _, j := range plans(1) {
		for what, is := range map[string]bool{
			"slow": j.upload.Send > 0, "cut": j.upload.Ending != lab.Waits, "chunked": j.upload.Chunked, "expect": j.upload.Expect,
			"giant": j.template.Size >= 100_000_000, "common": j.variant>>16 == common,
		} {
			if is {
				count[what]++
			}
		}
	}
	for _, what := range []string{"slow", "cut", "chunked", "expect", "common"} {
		if n := count[what]; n < 30 || n > 400 {
			t.Errorf("%d of 1000 jobs are %s", n, what)
		}
	}
	if count["giant"] != 2 {
		t.Errorf("%d giants instead of 2", count["giant"])
	}
}
