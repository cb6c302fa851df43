package drill

import (
	"fmt"
	"html"
	"strings"
	"time"
)

// The drawing's measures, in pixels.
const (
	svgWidth, svgLeft, svgTop = 900, 80, 66
	svgPlotWidth              = svgWidth - svgLeft - 20
	svgPlotHeight             = 260
	svgBand                   = 18 // the height of a heartbeat's row, and of a line of text
)

// svg draws the recording as a picture.
func (r recording) svg() string {
	var b strings.Builder
	bottom := svgTop + svgPlotHeight
	rows := bottom + 12
	legend := rows + 3*svgBand + 40
	height := legend + len(r.Events)*svgBand + 10
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="white"/>
<text x="%d" y="20" font-size="14">%s</text>
`, svgWidth, height, svgLeft, html.EscapeString(r.Title))
	for quarter := range int64(5) {
		y := bottom - int(quarter)*svgPlotHeight/4
		fmt.Fprintf(&b, `<path d="M%d %dh%d" stroke="#ddd"/><text x="%d" y="%d" text-anchor="end">%d MiB</text>`+"\n",
			svgLeft, y, svgPlotWidth, svgLeft-6, y+4, r.Capacity*quarter/4/mib)
	}
	r.svgArea(&b, bottom)
	r.svgBands(&b, rows)
	for at := time.Duration(0); at <= r.length(); at += 5 * time.Second {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%.0f s</text>`+"\n", r.x(at), rows+3*svgBand+12, at.Seconds())
	}
	for i, e := range r.Events {
		x := r.x(e.At)
		// Two heights, so that neighbours do not cover each other.
		y := svgTop - 4 - i%2*12
		fmt.Fprintf(&b, `<path d="M%.1f %dV%d" stroke="#555" stroke-dasharray="3 3"/><text x="%.1f" y="%d" text-anchor="middle" font-weight="bold">%c</text>`+"\n",
			x, y, rows+3*svgBand, x, y, letter(i))
		fmt.Fprintf(&b, `<text x="%d" y="%d"><tspan font-weight="bold">%c</tspan> %.1f s: %s</text>`+"\n",
			svgLeft, legend+i*svgBand, letter(i), e.At.Seconds(), html.EscapeString(e.Text))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (r recording) x(at time.Duration) float64 {
	return svgLeft + svgPlotWidth*float64(at)/float64(r.length())
}

// svgArea draws the bytes used, in steps: a sample holds until the next.
func (r recording) svgArea(b *strings.Builder, bottom int) {
	fmt.Fprintf(b, `<path fill="#7aa6d8" stroke="#2b5c94" d="M%d %d`, svgLeft, bottom)
	for _, s := range r.Samples {
		share := min(float64(s.Used)/float64(r.Capacity), 1)
		fmt.Fprintf(b, "H%.1fV%.1f", r.x(s.At), float64(bottom)-svgPlotHeight*share)
	}
	fmt.Fprintf(b, `H%dV%dZ"/>`+"\n", svgLeft+svgPlotWidth, bottom)
}

// svgBands draws the heartbeats' colours and the number of workspaces, each in a row.
func (r recording) svgBands(b *strings.Builder, top int) {
	fills := map[colour]string{green: "#4caf50", red: "#e53935", none: "#bdbdbd"}
	for i, row := range []struct {
		label string
		value func(sample) string
	}{
		{"balancer", func(s sample) string { return fills[s.Balancer] }},
		{"heartbeat", func(s sample) string { return fills[s.Health] }},
		{"workspaces", func(s sample) string { return fmt.Sprint(s.Workspaces) }},
	} {
		y := top + i*svgBand
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", svgLeft-6, y+13, row.label)
		for first := 0; first < len(r.Samples); {
			value, end := row.value(r.Samples[first]), first+1
			for end < len(r.Samples) && row.value(r.Samples[end]) == value {
				end++
			}
			from, to := r.x(r.Samples[first].At), float64(svgLeft+svgPlotWidth)
			if end < len(r.Samples) {
				to = r.x(r.Samples[end].At)
			}
			switch {
			case strings.HasPrefix(value, "#"):
				fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", from, y, to-from, svgBand-3, value)
			case value != "0" && to-from > 8:
				fmt.Fprintf(b, `<path d="M%.1f %dH%.1f" stroke="#999"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
					from, y+15, to, (from+to)/2, y+12, value)
			}
			first = end
		}
	}
}
