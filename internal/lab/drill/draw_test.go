package drill

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// plotColumns and plotRows are the size of the plot in characters, without what stands around it.
const (
	plotColumns = 72
	plotRows    = 10
)

// A colour is what a heartbeat says, as the plot's letter.
type colour byte

const (
	green colour = 'G'
	red   colour = 'R'
	none  colour = '-' // no answer
)

// A sample is what was seen at one time.
type sample struct {
	At               time.Duration // since the start
	Used             int64         // bytes
	Workspaces       int
	Balancer, Health colour // of /__lbheartbeat__ and /__heartbeat__
}

// An event is a step of the play that the plot shows.
type event struct {
	At   time.Duration // since the start
	Text string
}

// A recording is all that is plotted.
type recording struct {
	Title    string
	Capacity int64    // bytes: the top of the plot
	Samples  []sample // in order of time
	Events   []event  // in order of time
}

// letter names the nth event.
func letter(n int) rune { return 'A' + rune(n) }

// length is the time that is plotted, never 0.
func (r recording) length() time.Duration {
	end := time.Millisecond
	if n := len(r.Samples); n > 0 {
		end = max(end, r.Samples[n-1].At)
	}
	if n := len(r.Events); n > 0 {
		end = max(end, r.Events[n-1].At)
	}
	return end
}

// column is where in the plot a time is.
func (r recording) column(at time.Duration) int {
	return min(int(at*plotColumns/r.length()), plotColumns-1)
}

// columns reduces the samples to one for each column: the most that was used, and the worst that was said.
// A column without one is like that before it.
func (r recording) columns() (all [plotColumns]sample) {
	next := 0
	for i := range all {
		if i > 0 {
			all[i] = all[i-1]
		}
		for first := true; next < len(r.Samples) && r.column(r.Samples[next].At) <= i; next++ {
			s := r.Samples[next]
			if !first {
				s.Used, s.Workspaces = max(s.Used, all[i].Used), max(s.Workspaces, all[i].Workspaces)
				s.Balancer, s.Health = worse(s.Balancer, all[i].Balancer), worse(s.Health, all[i].Health)
			}
			all[i], first = s, false
		}
	}
	return all
}

func worse(a, b colour) colour {
	order := []colour{green, none, red}
	return order[max(slices.Index(order, a), slices.Index(order, b), 0)]
}

// text draws the recording for a terminal.
func (r recording) text() string {
	var b strings.Builder
	cols := r.columns()
	fmt.Fprintf(&b, "%s\n\n", r.Title)
	for row := plotRows - 1; row >= 0; row-- {
		fmt.Fprintf(&b, "%s%s\n", r.axis(row), strings.TrimRight(r.bar(cols, row), " "))
	}
	fmt.Fprintf(&b, "%11s └%s\n", "0", strings.Repeat("─", plotColumns))
	line := func(label string, cell func(s sample) byte) {
		fmt.Fprintf(&b, "%11s  ", label)
		for _, s := range cols {
			b.WriteByte(cell(s))
		}
		b.WriteByte('\n')
	}
	line("workspaces", func(s sample) byte { return ".123456789"[min(s.Workspaces, 9)] })
	line("balancer", func(s sample) byte { return byte(s.Balancer) })
	line("heartbeat", func(s sample) byte { return byte(s.Health) })
	for _, marks := range r.marks() {
		fmt.Fprintf(&b, "%13s%s\n", "", marks)
	}
	fmt.Fprintf(&b, "%13s0 s%*s\n\n", "", plotColumns-3, fmt.Sprintf("%.0f s", r.length().Seconds()))
	for i, e := range r.Events {
		fmt.Fprintf(&b, "%c %5.1f s  %s\n", letter(i), e.At.Seconds(), e.Text)
	}
	b.WriteString("heartbeats: G green, R red, - no answer\n")
	return b.String()
}

// axis labels a row with the bytes at its upper edge, at the top and in the middle.
func (r recording) axis(row int) string {
	if upper := row + 1; upper == plotRows || upper == plotRows/2 {
		return fmt.Sprintf("%7d MiB ┤", r.Capacity*int64(upper)/plotRows/mib)
	}
	return strings.Repeat(" ", 12) + "│"
}

// bar draws one row of the plot, in eighths of it.
func (r recording) bar(cols [plotColumns]sample, row int) string {
	blocks := []rune(" ▁▂▃▄▅▆▇█")
	line := make([]rune, plotColumns)
	for i, s := range cols {
		eighths := (s.Used*plotRows*8 + r.Capacity/2) / r.Capacity
		line[i] = blocks[min(max(eighths-int64(row)*8, 0), 8)]
	}
	return string(line)
}

// marks are lines with the events' letters in their columns: as many as it takes for each to have its place.
func (r recording) marks() (lines []string) {
	var cells [][]rune
	for i, e := range r.Events {
		at := r.column(e.At)
		line := slices.IndexFunc(cells, func(c []rune) bool { return c[at] == ' ' })
		if line < 0 {
			line = len(cells)
			cells = append(cells, []rune(strings.Repeat(" ", plotColumns)))
		}
		cells[line][at] = letter(i)
	}
	for _, c := range cells {
		lines = append(lines, strings.TrimRight(string(c), " "))
	}
	return lines
}
