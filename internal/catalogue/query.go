package catalogue

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// The number of records of a page: default, and bound.
const (
	defaultBatch = 100
	maxBatch     = 1000
)

const (
	// maxField bounds a parameter's value, in bytes.
	maxField = 1024
	// maxTerms bounds the comma-separated terms in a value.
	maxTerms = 10
)

// Faults are the faults of a query by parameter.
type Faults map[string][]string

// ReadUploads reads a query for uploads from that of an address: it returns the query, or its faults. Dates such as "today" are relative to
// now. Of a repeated parameter the last counts; parameters outside the table are ignored.
func ReadUploads(query string, now time.Time) (*UploadQuery, Faults) {
	q := &UploadQuery{Limit: defaultBatch}
	faults := read(query, now, uploadFilters, q)
	q.Skip = skipped(q.Skip, q.Limit)
	return q, faults
}

// ReadFiles is ReadUploads for files.
func ReadFiles(query string, now time.Time) (*FileQuery, Faults) {
	q := &FileQuery{Limit: defaultBatch}
	faults := read(query, now, fileFilters, q)
	q.Skip = skipped(q.Skip, q.Limit)
	return q, faults
}

func read[Q any](query string, now time.Time, table []filter[Q], q *Q) Faults {
	values, faults := parse(query), Faults{}
	for _, known := range table {
		text := values[known.name]
		p := &param{name: known.name, text: strings.TrimSpace(text), now: now}
		switch {
		case len(text) > maxField || !utf8.ValidString(text) || strings.ContainsRune(text, 0):
			p.fault("%s is at most %d bytes of UTF-8.", p.name, maxField)
		case p.text != "":
			known.read(p, q)
		}
		if len(p.faults) > 0 {
			faults[known.name] = p.faults
		}
	}
	return faults
}

// parse returns the last value of each parameter. Badly encoded text stands for itself.
func parse(query string) map[string]string {
	values := make(map[string]string)
	decoded := func(text string) string {
		if plain, err := url.QueryUnescape(text); err == nil {
			return plain
		}
		return text
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		values[decoded(name)] = decoded(value)
	}
	return values
}

// skipped returns the number of records before a page, at most as many as are counted.
func skipped(pages, batch int) int { return min(pages, MaxSkip) * batch }

// A param is the value of a parameter. A method for a faulty one returns the zero value, and adds to faults.
type param struct {
	name, text string
	now        time.Time
	faults     []string
}

func (p *param) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// quoted shows a value, or the beginning of a long one.
func quoted(v string) string { return strconv.QuoteToASCII(v[:min(len(v), 60)]) }

// one returns a value out of a few.
func (p *param) one(allowed ...string) string {
	if !slices.Contains(allowed, p.text) {
		p.fault("%s is %s; it is not %s.", p.name, strings.Join(allowed, " or "), quoted(p.text))
		return ""
	}
	return p.text
}

func (p *param) batch() int {
	n, err := strconv.Atoi(p.text)
	if err != nil || n < 1 || n > maxBatch {
		p.fault("batch_size is 1 to %d; it is not %s.", maxBatch, quoted(p.text))
		return defaultBatch
	}
	return n
}

// page returns the number of a page, from 0, or its cursor. A number below the first means the first.
func (p *param) page() (pages int, after string) {
	n, err := strconv.ParseInt(p.text, 10, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, p.text
	}
	return int(min(max(n, 1)-1, MaxSkip)), ""
}

// OtherPage is the fault of a page of another list, or of none.
func OtherPage(page string) Faults {
	return Faults{"page": {fmt.Sprintf("page is a number, or the next_page of the page before, asked for with the same parameters; it is not %s.", quoted(page))}}
}

// user returns a part of an e-mail address to match or exclude.
func (p *param) user() Term { return term(strings.ToLower(p.text)) }

func term(text string) Term {
	rest, not := strings.CutPrefix(text, "!")
	return Term{Text: strings.TrimSpace(rest), Not: not}
}

// list returns the comma-separated values.
func (p *param) list() (values []string) {
	for value := range strings.SplitSeq(p.text, ",") {
		if value = strings.TrimSpace(value); value != "" {
			values = append(values, value)
		}
	}
	if len(values) > maxTerms {
		p.fault("%s has at most %d values, separated by commas.", p.name, maxTerms)
		return nil
	}
	return values
}

func (p *param) terms() (terms []Term) {
	for _, value := range p.list() {
		if t := term(value); t.Text != "" {
			terms = append(terms, t)
		}
	}
	return terms
}

// kind returns whether to list only try uploads, or only others.
func (p *param) kind() *bool {
	try := p.one("regular", "try") == "try"
	return &try
}

// flag returns true unless the value says otherwise.
func (p *param) flag() *bool {
	yes := !slices.Contains([]string{"false", "0"}, strings.ToLower(p.text))
	return &yes
}

// outcome returns the outcome of uploads, or that they run.
func (p *param) outcome() (outcome upload.Outcome, running bool) {
	text := p.one("running", string(upload.Completed), string(upload.Rejected), string(upload.Failed),
		string(upload.TimedOut), string(upload.Cancelled), string(upload.Interrupted))
	if text == "running" {
		return "", true
	}
	return upload.Outcome(text), false
}

// keys limits a list to files with all parts in their keys. A part with a final * is their beginning. Tecken's keys once had v1/ in front,
// or try/v1/ for try uploads: clients still ask for these.
func (p *param) keys(q *FileQuery) {
	for _, part := range p.list() {
		part, try := strings.CutPrefix(part, "try/")
		if try {
			if q.Try != nil && !*q.Try {
				q.Created = &Span{} // nothing is both
			}
			q.Try = &try
		}
		part, _ = strings.CutPrefix(part, "v1/")
		prefix, beginning := strings.CutSuffix(part, "*")
		switch {
		case beginning && prefix != "":
			q.Prefixes = append(q.Prefixes, symbol.Fold(prefix))
		case !beginning && part != "":
			q.Keys = append(q.Keys, symbol.Fold(part))
		}
	}
}
