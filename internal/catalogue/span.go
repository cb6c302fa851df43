package catalogue

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	sizeFault = "%s is bytes, or with k, m or g (1024 each), behind <, <=, >, >= or =, or several of these separated by commas; it is not %s."
	dateFault = "%s is a date (2026-01-31), a time (2026-01-31T12:00:00Z), today, yesterday or null, behind <, <=, >, >= or =, or several of these " +
		"separated by commas; it is not %s."
)

// everything holds all numbers.
var everything = Span{From: math.MinInt64, Until: math.MaxInt64}

// span returns the numbers that satisfy all conditions in a list; leaves returns those of one condition.
func (p *param) span(fault string, leaves func(operator, value string) (Span, bool)) *Span {
	var all *Span
	for _, condition := range p.list() {
		value := strings.TrimLeft(condition, "<>=")
		s, ok := leaves(condition[:len(condition)-len(value)], strings.TrimSpace(value))
		if !ok {
			p.fault(fault, p.name, quoted(p.text))
			return nil
		}
		if all != nil {
			s.From, s.Until = max(s.From, all.From), min(s.Until, all.Until)
		}
		all = &s
	}
	return all
}

// compared returns the numbers that compare with a value; those from least to before beyond equal it.
func compared(operator string, least, beyond int64) (Span, bool) {
	s := everything
	switch operator {
	case "", "=":
		s.From, s.Until = least, beyond
	case ">":
		s.From = beyond
	case ">=":
		s.From = least
	case "<":
		s.Until = least
	case "<=":
		s.Until = beyond
	default:
		return s, false
	}
	return s, true
}

// sizes are a number and its unit.
var sizes = regexp.MustCompile(`^([0-9]+|[0-9]*\.[0-9]+|[0-9]+\.) *([kmg]?)b?$`)

// size returns the wanted sizes in bytes.
func (p *param) size() *Span {
	return p.span(sizeFault, func(operator, text string) (Span, bool) {
		parts := sizes.FindStringSubmatch(strings.ToLower(text))
		if parts == nil {
			return Span{}, false
		}
		shift := map[string]int{"k": 10, "m": 20, "g": 30}[parts[2]]
		if n, err := strconv.ParseInt(parts[1], 10, 64); err == nil && n < math.MaxInt64>>shift {
			return compared(operator, n<<shift, n<<shift+1)
		}
		f, err := strconv.ParseFloat(parts[1], 64)
		f *= float64(int64(1) << shift)
		if err != nil || f >= 1<<62 || !strings.Contains(parts[1], ".") {
			return Span{}, false
		}
		up := int64(math.Ceil(f)) // no size equals a fraction
		if f == math.Floor(f) {
			return compared(operator, up, up+1)
		}
		return compared(operator, up, up)
	})
}

// created returns the wanted times of uploads' beginning.
func (p *param) created() *Span {
	span, null := p.dates()
	if null {
		return &Span{} // all uploads have begun
	}
	return span
}

// completed returns the wanted times of uploads' completion, or that they are incomplete.
func (p *param) completed() (span *Span, incomplete bool) {
	span, null := p.dates()
	if null && span != nil {
		return &Span{}, false // no upload is both
	}
	return span, null
}

// stored returns the wanted times of completion for files: stored files are complete.
func (p *param) stored() *Span {
	span, incomplete := p.completed()
	if incomplete {
		return &Span{}
	}
	return span
}

// dates returns the times that satisfy a list of dates, and whether null is among them.
func (p *param) dates() (span *Span, null bool) {
	rest := p.list()
	dates := rest[:0]
	for _, condition := range rest {
		switch strings.ToLower(strings.TrimLeft(condition, "<>= ")) {
		case "null", "incomplete":
			null = true
		default:
			dates = append(dates, condition)
		}
	}
	only := *p
	only.text = strings.Join(dates, ",")
	span = only.span(dateFault, func(operator, text string) (Span, bool) { return p.date(operator, text) })
	p.faults = only.faults
	return span, null
}

// layouts are the forms of dates, with a space for the T. Without a zone it is UTC.
var layouts = []string{time.DateOnly, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02 15:04Z07:00", "2006-01-02 15:04", "2006/01/02", "20060102"}

// date returns the times that satisfy a date, as in Tecken: equal to a midnight means all of its day; else a date is a moment. "After" a
// moment begins a second later, since clients cut off fractions of times.
func (p *param) date(operator, text string) (Span, bool) {
	at, ok := p.moment(strings.ToLower(text))
	if !ok {
		return Span{}, false
	}
	switch whole := at.Hour() == 0 && at.Minute() == 0; {
	case strings.TrimPrefix(operator, "=") == "" && whole:
		return compared("=", at.UnixMicro(), at.AddDate(0, 0, 1).UnixMicro())
	case operator == ">":
		at = at.Add(time.Second)
	}
	return compared(operator, at.UnixMicro(), at.UnixMicro()+1)
}

func (p *param) moment(text string) (time.Time, bool) {
	today := p.now.UTC().Truncate(24 * time.Hour)
	switch text {
	case "today":
		return today, true
	case "yesterday":
		return today.AddDate(0, 0, -1), true
	}
	text = strings.ToUpper(strings.Replace(text, "t", " ", 1))
	for _, layout := range layouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}
