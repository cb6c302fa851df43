package differential

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"tecken-upload/internal/archive"
)

var (
	mutations = flag.Uint64("mutations", 500, "read this many archives")
	seed      = flag.Uint64("seed", 1, "the archives are a function of this number")
	only      = flag.Int64("only", -1, "read the archive of this number alone")
	refused   = flag.Bool("refused", false, "let the other readers read what we refuse, too, and count what they read alike")
)

// What internal/archive accepts, every common reader takes for the same names and bytes.
func TestDifferential(t *testing.T) {
	checkNeeds(t)
	all, report := changes(), newReport(*seed)
	from, to := uint64(0), *mutations
	if *only >= 0 {
		from, to = uint64(*only), uint64(*only)+1
	}
	t.Logf("seed %d, archives %d to %d", *seed, from, to-1)
	var next atomic.Uint64
	next.Store(from)
	g, ctx := errgroup.WithContext(t.Context())
	for range runtime.GOMAXPROCS(0) {
		w := newWorker(t)
		g.Go(func() error {
			for n := next.Add(1) - 1; n < to && ctx.Err() == nil; n = next.Add(1) - 1 {
				if err := w.compare(ctx, newCandidate(*seed, n, all), report); err != nil {
					return fmt.Errorf("archive %d of seed %d: %w", n, *seed, err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	report.print(t)
	if *only < 0 {
		report.checkCoverage(t)
	}
}

// A find can be repeated: an archive is a function of the seed and its number.
func TestCandidatesAreReproducible(t *testing.T) {
	all := changes()
	for n := range uint64(2 * len(all)) {
		a, b := newCandidate(7, n, all), newCandidate(7, n, changes())
		if a.String() != b.String() || !bytes.Equal(a.data, b.data) {
			t.Errorf("archive %d is %v at first, then %v", n, a, b)
		}
		if len(a.mutations) == 0 || a.mutations[0] != all[n%uint64(len(all))].name {
			t.Errorf("archive %d is %v, and begins with another change than its turn's", n, a)
		}
	}
}

// compare lets all readers read c, and reports how they differ from us.
func (w *worker) compare(ctx context.Context, c *candidate, report *report) error {
	if err := w.load(c); err != nil {
		return err
	}
	mine, refusal, err := ours(ctx, c.data)
	switch {
	case err != nil:
		return err
	case refusal != nil:
		report.refuse(c)
		if *refused {
			return w.compareRefused(ctx, c, refusal, report)
		}
		return nil
	}
	report.accept(c)
	for _, r := range readers {
		if !r.knows(c) {
			continue
		}
		l, err := r.read(w, ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		switch theirs := l.byKey(); {
		case l.complaint != "":
			report.differ(c, r, "an error", r.weight == strict && !r.excused(c, l), class(l.complaint), l.complaint)
		case !maps.Equal(mine, theirs):
			report.differ(c, r, "another list", r.weight >= lists && !r.excused(c, l), c.mutations[0], unlike(mine, theirs))
		default:
			report.agree(r)
		}
	}
	return nil
}

// compareRefused reports an archive that we refuse and all common readers read alike.
func (w *worker) compareRefused(ctx context.Context, c *candidate, refusal *archive.Error, report *report) error {
	var first map[string]string
	for _, r := range readers {
		if r.weight == counted || !r.knows(c) {
			continue
		}
		l, err := r.read(w, ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		theirs := l.byKey()
		if l.complaint != "" || len(theirs) == 0 || first != nil && !maps.Equal(first, theirs) {
			return nil
		}
		first = theirs
	}
	report.readAlike(c, refusal.Reason)
	return nil
}

// unlike says in which names and contents two lists differ.
func unlike(mine, theirs map[string]string) string {
	var parts []string
	all := maps.Clone(mine)
	maps.Copy(all, theirs)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if m, t := cmp.Or(mine[k], "nothing"), cmp.Or(theirs[k], "nothing"); m != t {
			parts = append(parts, fmt.Sprintf("%q is %s for us, %s for it", k, m, t))
		}
	}
	return strings.Join(parts, "; ")
}
