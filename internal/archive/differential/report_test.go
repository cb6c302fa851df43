package differential

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// examples is how many archives of one kind of difference are printed and kept.
const examples = 2

// A report collects what the readers say. Its methods are for concurrent use.
type report struct {
	seed     uint64
	mu       sync.Mutex
	accepted map[string]int         // by format
	refused  map[string]int         // by format
	agreed   map[string]int         // by reader
	failed   map[string]*difference // what must not be
	counted  map[string]*difference // what may be
	alike    map[string]*difference // refused by us, read alike by all others; by our reason
	dir      string                 // of archives that are kept
}

// A difference is a kind of difference, with the first archives of that kind.
type difference struct {
	count    int
	examples []string
}

func newReport(seed uint64) *report {
	return &report{
		seed: seed, accepted: map[string]int{}, refused: map[string]int{}, agreed: map[string]int{},
		failed: map[string]*difference{}, counted: map[string]*difference{}, alike: map[string]*difference{},
	}
}

func (p *report) accept(c *candidate) { p.add(p.accepted, c.format) }
func (p *report) refuse(c *candidate) { p.add(p.refused, c.format) }
func (p *report) agree(r reader)      { p.add(p.agreed, r.name) }

func (p *report) add(counts map[string]int, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts[what]++
}

func (p *report) differ(c *candidate, r reader, what string, fails bool, kind, detail string) {
	kinds := p.counted
	if fails {
		kinds = p.failed
	}
	p.note(kinds, r.name+": "+what+": "+kind, c, detail)
}

func (p *report) readAlike(c *candidate, reason string) { p.note(p.alike, class(reason), c, reason) }

// note counts a difference, and keeps the first archives of its kind.
func (p *report) note(kinds map[string]*difference, kind string, c *candidate, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := kinds[kind]
	if d == nil {
		d = &difference{}
		kinds[kind] = d
	}
	if d.count++; d.count <= examples {
		d.examples = append(d.examples, fmt.Sprintf("-only %d %v %s\n        %s", c.number, c, p.keep(c), detail))
	}
}

// keep writes the archive to a file that stays, and returns its path.
func (p *report) keep(c *candidate) string {
	if p.dir == "" {
		var err error
		if p.dir, err = os.MkdirTemp("", "differential-"); err != nil {
			return err.Error()
		}
	}
	path := filepath.Join(p.dir, fmt.Sprintf("%d-%d.%s", p.seed, c.number, c.format))
	if err := os.WriteFile(path, c.data, 0o600); err != nil {
		return err.Error()
	}
	return path
}

// print logs what was found, the most frequent first. What must not be is an error.
func (p *report) print(t *testing.T) {
	t.Helper()
	t.Logf("accepted %v, refused %v; agreed with us %v", p.accepted, p.refused, p.agreed)
	each := func(kinds map[string]*difference, say func(text string)) {
		for _, kind := range slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
			return cmp.Or(cmp.Compare(kinds[b].count, kinds[a].count), cmp.Compare(a, b))
		}) {
			say(fmt.Sprintf("%d × %s\n    %s", kinds[kind].count, kind, strings.Join(kinds[kind].examples, "\n    ")))
		}
	}
	each(p.alike, func(text string) { t.Log("refused, read alike by all others: " + text) })
	each(p.counted, func(text string) { t.Log("counted: " + text) })
	each(p.failed, func(text string) { t.Errorf("seed %d: %s", p.seed, text) })
}

// checkCoverage makes sure that something was compared: a tenth of the zips and of the tars is accepted, and every reader agrees
// with us about half of what we accept of its formats.
func (p *report) checkCoverage(t *testing.T) {
	t.Helper()
	count := func(counts map[string]int, formats string) (n int) {
		for format, k := range counts {
			if strings.Contains(formats, " "+format+" ") {
				n += k
			}
		}
		return n
	}
	for _, formats := range []string{zips, tars} {
		if accepted, refused := count(p.accepted, formats), count(p.refused, formats); accepted*10 < accepted+refused {
			t.Errorf("of%s only %d were accepted, and %d refused", formats, accepted, refused)
		}
	}
	knows := map[string]string{}
	for _, r := range readers {
		knows[r.name] += r.formats
	}
	for name, formats := range knows {
		if accepted := count(p.accepted, formats); p.agreed[name]*2 < accepted {
			t.Errorf("%s agrees about %d of %d archives only", name, p.agreed[name], accepted)
		}
	}
}

var particular = regexp.MustCompile(`'[^']*'|"[^"]*"|\S*/\S*|0x[0-9a-f]+|\d+`)

// class is a message without what is particular to one archive.
func class(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	message = particular.ReplaceAllString(message, "#")
	return message[:min(len(message), 120)]
}
