package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tecken-upload/internal/lab"
)

// killed is the fault that -kills counts.
const killed = "kill -9 of the server"

// A tally counts what happened.
type tally struct {
	rounds  int
	faults  map[string]int
	answers map[string]int
	lab.Verdict
}

func newTally() tally { return tally{faults: make(map[string]int), answers: make(map[string]int)} }

// attempt counts an upload.
func (t *tally) attempt(a lab.Attempt) {
	if a.Ending != lab.Waits && (a.Whole || a.Lost != nil) {
		name := "client: " + string(a.Ending)
		if a.Whole && a.Ending != lab.Stalls {
			name += " before the answer"
		}
		t.faults[name]++
	}
	switch {
	case a.Status != 0:
		t.answers[strconv.Itoa(a.Status)]++
	case a.Ending == lab.Waits || a.Ending == lab.Stalls:
		t.answers["none: the connection broke"]++
	default:
		t.answers["none: not waited for"]++
	}
}

func (t *tally) add(one tally) {
	t.rounds++
	for name, n := range one.faults {
		t.faults[name] += n
	}
	for name, n := range one.answers {
		t.answers[name] += n
	}
	t.Accepted += one.Accepted
	t.Unheard += one.Unheard
	t.Objects += one.Objects
	t.Bytes += one.Bytes
	t.Bare += one.Bare
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// String is one line.
func (t tally) String() string {
	return fmt.Sprintf("%d faults, %d uploads, %d of them 201, %d objects", sum(t.faults), sum(t.answers), t.answers["201"], t.Objects)
}

// table is a Markdown table with a column for each kind.
func table(all map[kind]*tally) string {
	present := slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return all[k] == nil })
	var b strings.Builder
	b.WriteString("|")
	for _, k := range present {
		fmt.Fprintf(&b, " | %v", k)
	}
	b.WriteString(" | all |\n|---|" + strings.Repeat("---|", len(present)+1) + "\n")
	row := func(name string, count func(t *tally) int) {
		total := 0
		fmt.Fprintf(&b, "| %s |", name)
		for _, k := range present {
			n := count(all[k])
			total += n
			fmt.Fprintf(&b, " %d |", n)
		}
		fmt.Fprintf(&b, " %d |\n", total)
	}
	rows := func(prefix string, counts func(t *tally) map[string]int) {
		names := make(map[string]int)
		for _, t := range all {
			maps.Copy(names, counts(t))
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			row(prefix+name, func(t *tally) int { return counts(t)[name] })
		}
	}
	row("rounds", func(t *tally) int { return t.rounds })
	rows("", func(t *tally) map[string]int { return t.faults })
	row("**faults**", func(t *tally) int { return sum(t.faults) })
	rows("answered ", func(t *tally) map[string]int { return t.answers })
	row("**uploads**", func(t *tally) int { return sum(t.answers) })
	row("201s compared with records and storage", func(t *tally) int { return t.Accepted })
	row("recorded as completed, without a 201", func(t *tally) int { return t.Unheard })
	row("objects read back", func(t *tally) int { return t.Objects })
	row("of them without metadata, in replacing", func(t *tally) int { return t.Bare })
	return b.String()
}
