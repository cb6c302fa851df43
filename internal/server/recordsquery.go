package server

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// How many records a page has: where the request does not say, and at most.
const (
	defaultBatch = 100
	maxBatch     = 1000
)

// maxField bounds a parameter's value, in bytes.
const maxField = 1024

// errBadQuery: the request's parameters are at fault.
var errBadQuery = errors.New("bad query")

// A queryError says which parameter is at fault, and what it may be.
type queryError struct{ sentence string }

// Error returns the sentence, which is fit for the client.
func (e *queryError) Error() string { return e.sentence }

// Unwrap returns errBadQuery.
func (e *queryError) Unwrap() error { return errBadQuery }

const (
	pageSentence = "page is 1, or the next_page of the page before, asked for with the same parameters; it is not %s."
	sizeSentence = "size is bytes, or with k, m or g (1024 each), behind <, <=, >, >= or =, or several of these separated by commas; it is not %s."
	dateSentence = "created_at is a date (2026-01-31), a time (2026-01-31T12:00:00Z), today or yesterday, behind <, <=, >, >= or =, or several of these " +
		"separated by commas; it is not %s."
	keySentence = "key is <debug file>, <debug file>/<debug id>, <debug file>/<debug id>/<file>, or the beginning of a debug file and *; it is not %s."
)

// fields are the parameters of a request. Getting one that is at fault returns its zero value, and leaves the first
// fault in err.
type fields struct {
	values url.Values
	err    error
}

// readFields reads a request's parameters, each of which is at most once there and one of allowed.
func readFields(r *http.Request, allowed ...string) (*fields, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &queryError{"The query is not properly encoded."}
	}
	for name, v := range values {
		switch {
		case !slices.Contains(allowed, name):
			sentence := "There are no parameters here."
			if len(allowed) > 0 {
				sentence = "The parameters are " + strings.Join(allowed, ", ") + "; there is no " + quoted(name) + "."
			}
			return nil, &queryError{sentence}
		case len(v) > 1:
			return nil, &queryError{name + " is there more than once."}
		case len(v[0]) > maxField || !utf8.ValidString(v[0]) || strings.ContainsRune(v[0], 0):
			return nil, &queryError{fmt.Sprintf("%s is at most %d bytes of UTF-8.", name, maxField)}
		}
	}
	return &fields{values: values}, nil
}

// quoted shows a value, or the beginning of a long one.
func quoted(v string) string { return strconv.QuoteToASCII(v[:min(len(v), 60)]) }

// get returns a value; "" is as good as none.
func (f *fields) get(name string) string { return strings.TrimSpace(f.values.Get(name)) }

func (f *fields) fault(sentence, value string) {
	if f.err == nil {
		f.err = &queryError{fmt.Sprintf(sentence, quoted(value))}
	}
}

// one returns a value out of a few, and "" where there is none.
func (f *fields) one(name string, allowed ...string) string {
	v := f.get(name)
	if v != "" && !slices.Contains(allowed, v) {
		f.fault(name+" is "+strings.Join(allowed, " or ")+"; it is not %s.", v)
		return ""
	}
	return v
}

func (f *fields) batch(byDefault int) int {
	v := f.get("batch_size")
	if v == "" {
		return byDefault
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxBatch {
		f.fault(fmt.Sprintf("batch_size is 1 to %d; it is not %%s.", maxBatch), v)
		return byDefault
	}
	return n
}

// page returns where a page begins, "" for the first.
func (f *fields) page() string {
	v := f.get("page")
	if v == "1" {
		return ""
	}
	if _, err := strconv.ParseUint(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		f.fault(pageSentence, v)
	}
	return v
}

// kind returns whether only try uploads are asked for, or only others; nil: both.
func (f *fields) kind() *bool {
	v := f.one("type", "regular", "try")
	if v == "" {
		return nil
	}
	try := v == "try"
	return &try
}

// span returns the numbers that a list of conditions leaves; parse says what numbers one condition's value means.
func (f *fields) span(name, sentence string, parse func(string) (catalogue.Span, bool)) *catalogue.Span {
	text := f.get(name)
	if text == "" {
		return nil
	}
	all := catalogue.Span{Until: math.MaxInt64}
	for condition := range strings.SplitSeq(text, ",") {
		condition = strings.TrimSpace(condition)
		value := strings.TrimLeft(condition, "<>=")
		v, ok := parse(strings.TrimSpace(value))
		if !ok {
			f.fault(sentence, text)
			return nil
		}
		switch strings.TrimSuffix(condition, value) {
		case "", "=":
			all.From, all.Until = max(all.From, v.From), min(all.Until, v.Until)
		case ">":
			all.From = max(all.From, v.Until)
		case ">=":
			all.From = max(all.From, v.From)
		case "<":
			all.Until = min(all.Until, v.From)
		case "<=":
			all.Until = min(all.Until, v.Until)
		default:
			f.fault(sentence, text)
			return nil
		}
	}
	return &all
}

// size returns the bytes that are asked for.
func (f *fields) size() *catalogue.Span {
	return f.span("size", sizeSentence, func(text string) (catalogue.Span, bool) {
		digits := strings.TrimRight(strings.ToLower(text), "bkmg")
		shift := map[string]int{"": 0, "b": 0, "k": 10, "kb": 10, "m": 20, "mb": 20, "g": 30, "gb": 30}
		by, known := shift[strings.ToLower(text[len(digits):])]
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || !known || n > math.MaxInt64>>by-1 {
			return catalogue.Span{}, false
		}
		size := int64(n) << by
		return catalogue.Span{From: size, Until: size + 1}, true
	})
}

// created returns the times that are asked for. A day is all of it, in UTC.
func (f *fields) created(now time.Time) *catalogue.Span {
	return f.span("created_at", dateSentence, func(text string) (catalogue.Span, bool) {
		today := now.UTC().Truncate(24 * time.Hour)
		day, err := today, error(nil)
		switch text {
		case "today":
		case "yesterday":
			day = today.AddDate(0, 0, -1)
		default:
			if at, err := time.Parse(time.RFC3339, text); err == nil {
				return catalogue.Span{From: at.UnixMicro(), Until: at.UnixMicro() + 1}, true
			}
			day, err = time.Parse(time.DateOnly, text)
		}
		return catalogue.Span{From: day.UnixMicro(), Until: day.AddDate(0, 0, 1).UnixMicro()}, err == nil
	})
}

func readUploadQuery(r *http.Request, now time.Time) (*catalogue.UploadQuery, error) {
	f, err := readFields(r, "user", "size", "created_at", "type", "bucket_name", "outcome", "sort", "reverse", "page", "batch_size")
	if err != nil {
		return nil, err
	}
	q := &catalogue.UploadQuery{
		User: strings.ToLower(f.get("user")), Size: f.size(), Created: f.created(now), Try: f.kind(), Bucket: f.get("bucket_name"),
		BySize: f.one("sort", "created_at", "size") == "size", Ascending: f.one("reverse", "true", "false") == "false",
		Limit: f.batch(defaultBatch), After: f.page(),
	}
	outcome := f.one("outcome", "running", string(upload.Completed), string(upload.Rejected), string(upload.Failed),
		string(upload.TimedOut), string(upload.Cancelled), string(upload.Interrupted))
	if q.Running = outcome == "running"; !q.Running {
		q.Outcome = upload.Outcome(outcome)
	}
	return q, f.err
}

func readFileQuery(r *http.Request, now time.Time) (*catalogue.FileQuery, error) {
	f, err := readFields(r, "user", "key", "size", "created_at", "type", "bucket_name", "page", "batch_size")
	if err != nil {
		return nil, err
	}
	q := &catalogue.FileQuery{
		User: strings.ToLower(f.get("user")), Size: f.size(), Created: f.created(now), Try: f.kind(), Bucket: f.get("bucket_name"),
		Limit: f.batch(defaultBatch), After: f.page(),
	}
	f.key(q)
	return q, f.err
}

// key narrows q down to a debug file, to what one begins with, or to a key or the beginning of one.
func (f *fields) key(q *catalogue.FileQuery) {
	text := f.get("key")
	if text == "" {
		return
	}
	parts := strings.Split(text, "/")
	name, prefix := strings.CutSuffix(text, "*")
	full := slices.Concat(parts, []string{"x", "0", "x"}[min(len(parts), 3):])
	switch {
	case prefix && symbol.CheckComponent(name) == nil:
		q.DebugFile, q.Prefix = name, true
		return
	case prefix || len(parts) > 3:
		f.fault(keySentence, text)
		return
	}
	key, err := symbol.NewKey(full[0], full[1], full[2])
	if err != nil {
		f.fault(keySentence, text)
		return
	}
	q.DebugFile = key.DebugFile()
	if len(parts) > 1 {
		q.DebugID = key.DebugID()
	}
	if len(parts) > 2 {
		q.File = key.File()
	}
}

// readUploadFilesQuery asks for the files of the upload in the address: as many as one page may have, if not told otherwise.
func readUploadFilesQuery(c echo.Context) (*catalogue.FileQuery, error) {
	id, err := recordID(c)
	if err != nil {
		return nil, err
	}
	f, err := readFields(c.Request(), "page", "batch_size")
	if err != nil {
		return nil, err
	}
	return &catalogue.FileQuery{UploadID: id, Limit: f.batch(maxBatch), After: f.page()}, f.err
}
