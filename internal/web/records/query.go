package records

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
	"tecken-upload/internal/web/exchange"
)

// How many records a page has: where the request does not say, and at most.
const (
	defaultBatch = 100
	maxBatch     = 1000
)

const (
	// maxField bounds a parameter's value, in bytes.
	maxField = 1024
	// maxTerms bounds the terms in one, separated by commas.
	maxTerms = 10
)

// A parameter is one that a list understands, and how it narrows its query down. It is called where the request has it, and not empty;
// in the order of its table.
type parameter[Q any] struct {
	name string
	read func(p *param, q *Q)
}

// What the lists understand. Tecken's parameters come first, with its meanings; those behind them are ours.
var (
	uploadParameters = []parameter[catalogue.UploadQuery]{
		{"user", func(p *param, q *catalogue.UploadQuery) { q.User = p.user() }},
		{"size", func(p *param, q *catalogue.UploadQuery) { q.Size = p.size() }},
		{"created_at", func(p *param, q *catalogue.UploadQuery) { q.Created = p.created() }},
		{"completed_at", func(p *param, q *catalogue.UploadQuery) { q.Completed, q.Incomplete = p.completed() }},
		{"sort", func(p *param, q *catalogue.UploadQuery) {
			q.BySize, q.Ascending = p.one("created_at", "size") == "size", true
		}},
		{"reverse", func(p *param, q *catalogue.UploadQuery) {
			q.Ascending = p.text != "true" && (q.Ascending || p.text == "false")
		}},
		{"page", func(p *param, q *catalogue.UploadQuery) { q.Skip, q.After = p.page() }},

		{"type", func(p *param, q *catalogue.UploadQuery) { q.Try = p.kind() }},
		{"bucket_name", func(p *param, q *catalogue.UploadQuery) { q.Buckets = p.terms() }},
		{"outcome", func(p *param, q *catalogue.UploadQuery) { q.Outcome, q.Running = p.outcome() }},
		{"batch_size", func(p *param, q *catalogue.UploadQuery) { q.Limit = p.batch() }},
	}
	fileParameters = []parameter[catalogue.FileQuery]{
		{"size", func(p *param, q *catalogue.FileQuery) { q.Size = p.size() }},
		{"created_at", func(p *param, q *catalogue.FileQuery) { q.Created = p.created() }},
		{"completed_at", func(p *param, q *catalogue.FileQuery) {
			var incomplete bool
			if q.Completed, incomplete = p.completed(); incomplete {
				q.Completed = &catalogue.Span{} // files that were stored are complete
			}
		}},
		{"upload_type", func(p *param, q *catalogue.FileQuery) { q.Try = p.kind() }},
		{"key", (*param).keys},
		{"update", func(p *param, q *catalogue.FileQuery) { q.Replaced = p.flag() }},
		{"compressed", func(p *param, q *catalogue.FileQuery) { q.Compressed = p.flag() }},
		{"bucket_name", func(p *param, q *catalogue.FileQuery) { q.Buckets = p.terms() }},
		{"page", func(p *param, q *catalogue.FileQuery) { q.Skip, q.After = p.page() }},

		{"user", func(p *param, q *catalogue.FileQuery) { q.User = p.user() }},
		{"type", func(p *param, q *catalogue.FileQuery) { q.Try = p.kind() }},
		{"batch_size", func(p *param, q *catalogue.FileQuery) { q.Limit = p.batch() }},
	}
)

// Parameters returns the names of what the lists of records understand, by their paths.
func Parameters() map[string][]string {
	return map[string][]string{"/api/uploads/": named(uploadParameters), "/api/uploads/files/": named(fileParameters)}
}

func named[Q any](table []parameter[Q]) (names []string) {
	for _, p := range table {
		names = append(names, p.name)
	}
	return names
}

// readQuery reads a request's parameters, and tells of all that are at fault. Of one that is there several times the last counts; others
// than those in the table are ignored.
func readQuery[Q any](r *http.Request, now time.Time, table []parameter[Q], q *Q) error {
	values, faults := parseQuery(r.URL.RawQuery), exchange.QueryFaults{}
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
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// parseQuery returns the last value of each parameter. What is not properly encoded stands for itself.
func parseQuery(query string) map[string]string {
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

func readUploadQuery(r *http.Request, now time.Time) (*catalogue.UploadQuery, error) {
	q := &catalogue.UploadQuery{Limit: defaultBatch}
	err := readQuery(r, now, uploadParameters, q)
	q.Skip = skipped(q.Skip, q.Limit)
	return q, err
}

func readFileQuery(r *http.Request, now time.Time) (*catalogue.FileQuery, error) {
	q := &catalogue.FileQuery{Limit: defaultBatch}
	err := readQuery(r, now, fileParameters, q)
	q.Skip = skipped(q.Skip, q.Limit)
	return q, err
}

// skipped returns how many records stand before a page, or as many as lead past those that are counted through.
func skipped(pages, batch int) int { return min(pages, catalogue.MaxSkip) * batch }

// A param is the value of a parameter. A method for one that is at fault returns the zero value, and says so in faults.
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

// page returns the number of a page, from 0, or where one begins. A number below the first is that of the first.
func (p *param) page() (pages int, after string) {
	n, err := strconv.ParseInt(p.text, 10, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, p.text
	}
	return int(min(max(n, 1)-1, catalogue.MaxSkip)), ""
}

// otherPage is the fault of a page that is of no list, or of another one.
func otherPage(page string) exchange.QueryFaults {
	return exchange.QueryFaults{"page": {fmt.Sprintf("page is a number, or the next_page of the page before, asked for with the same parameters; it is not %s.", quoted(page))}}
}

// user returns part of an e-mail, or what is to be no part of it.
func (p *param) user() catalogue.Term { return term(strings.ToLower(p.text)) }

func term(text string) catalogue.Term {
	rest, not := strings.CutPrefix(text, "!")
	return catalogue.Term{Text: strings.TrimSpace(rest), Not: not}
}

// list returns the values that commas separate.
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

func (p *param) terms() (terms []catalogue.Term) {
	for _, value := range p.list() {
		if t := term(value); t.Text != "" {
			terms = append(terms, t)
		}
	}
	return terms
}

// kind returns whether only try uploads are asked for, or only others.
func (p *param) kind() *bool {
	try := p.one("regular", "try") == "try"
	return &try
}

// flag returns whether something is to be so: it is, unless the value says otherwise.
func (p *param) flag() *bool {
	yes := !slices.Contains([]string{"false", "0"}, strings.ToLower(p.text))
	return &yes
}

// outcome returns how uploads ended, or that they did not.
func (p *param) outcome() (outcome upload.Outcome, running bool) {
	text := p.one("running", string(upload.Completed), string(upload.Rejected), string(upload.Failed),
		string(upload.TimedOut), string(upload.Cancelled), string(upload.Interrupted))
	if text == "running" {
		return "", true
	}
	return upload.Outcome(text), false
}

// keys narrows a list down to files that have all parts of a list in their keys. A part that ends with * is what they begin with. In
// front of keys Tecken once had v1/, or try/v1/ for those of try uploads: clients still ask for these.
func (p *param) keys(q *catalogue.FileQuery) {
	for _, part := range p.list() {
		part, try := strings.CutPrefix(part, "try/")
		if try {
			if q.Try != nil && !*q.Try {
				q.Created = &catalogue.Span{} // nothing is both
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
