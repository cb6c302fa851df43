package catalogue

import (
	"slices"
	"strings"

	"tecken-upload/internal/upload"
)

// A filter is a parameter of a list: its name, how its value is read into a query, and the query's condition on rows. A filter with a nil
// where has no condition: it is an order, or a page, or an index applies it.
type filter[Q any] struct {
	name  string
	read  func(p *param, q *Q) // called for a non-empty parameter; in the order of the table
	where func(q *Q) []Condition
}

// uploadFilters are the parameters of the list of uploads. Tecken's come first, with its meanings; the others are ours.
var uploadFilters = []filter[UploadQuery]{
	{"user", func(p *param, q *UploadQuery) { q.User = p.user() }, nil},
	{"size", func(p *param, q *UploadQuery) { q.Size = p.size() },
		func(q *UploadQuery) []Condition { return within("size", q.Size) }},
	{"created_at", func(p *param, q *UploadQuery) { q.Created = p.created() },
		func(q *UploadQuery) []Condition { return within("created_at", q.Created) }},
	{"completed_at", func(p *param, q *UploadQuery) { q.Completed, q.Incomplete = p.completed() }, completion},
	{"sort", func(p *param, q *UploadQuery) { q.BySize, q.Ascending = p.one("created_at", "size") == "size", true }, nil},
	{"reverse", func(p *param, q *UploadQuery) { q.Ascending = p.text != "true" && (q.Ascending || p.text == "false") }, nil},
	{"page", func(p *param, q *UploadQuery) { q.Skip, q.After = p.page() }, nil},

	{"type", func(p *param, q *UploadQuery) { q.Try = p.kind() },
		func(q *UploadQuery) []Condition { return holds("try", q.Try) }},
	{"bucket_name", func(p *param, q *UploadQuery) { q.Buckets = p.terms() },
		func(q *UploadQuery) []Condition { return among("bucket", q.Buckets) }},
	{"outcome", func(p *param, q *UploadQuery) { q.Outcome, q.Running = p.outcome() }, outcome},
	{"batch_size", func(p *param, q *UploadQuery) { q.Limit = p.batch() }, nil},
}

// fileFilters are the parameters of the list of files.
var fileFilters = []filter[FileQuery]{
	{"size", func(p *param, q *FileQuery) { q.Size = p.size() },
		func(q *FileQuery) []Condition { return within("stored_size", q.Size) }},
	{"created_at", func(p *param, q *FileQuery) { q.Created = p.created() },
		func(q *FileQuery) []Condition { return ofUpload(within("created_at", q.Created)) }},
	{"completed_at", func(p *param, q *FileQuery) { q.Completed = p.stored() },
		func(q *FileQuery) []Condition { return ofUpload(within("ended_at", q.Completed)) }},
	{"upload_type", func(p *param, q *FileQuery) { q.Try = p.kind() },
		func(q *FileQuery) []Condition { return ofUpload(holds("try", q.Try)) }},
	{"key", (*param).keys, nil},
	{"update", func(p *param, q *FileQuery) { q.Replaced = p.flag() },
		func(q *FileQuery) []Condition { return holds("replaced", q.Replaced) }},
	{"compressed", func(p *param, q *FileQuery) { q.Compressed = p.flag() },
		func(q *FileQuery) []Condition { return holds("lower(file) LIKE '%_.sym'", q.Compressed) }},
	{"bucket_name", func(p *param, q *FileQuery) { q.Buckets = p.terms() },
		func(q *FileQuery) []Condition { return ofUpload(among("bucket", q.Buckets)) }},
	{"page", func(p *param, q *FileQuery) { q.Skip, q.After = p.page() }, nil},

	{"user", func(p *param, q *FileQuery) { q.User = p.user() }, nil},
	{"type", func(p *param, q *FileQuery) { q.Try = p.kind() }, nil}, // another name of upload_type
	{"batch_size", func(p *param, q *FileQuery) { q.Limit = p.batch() }, nil},
}

// A Condition is a query's condition on rows: a column within a span, or a term of SQL.
type Condition struct {
	OfUpload bool // in a list of files: on the row of the file's upload
	Column   string
	Span     *Span
	Term     string // without a Span; in SQL of all databases, with "?" for each of Args
	Args     []any
}

// Conditions returns q's conditions on uploads.
func (q *UploadQuery) Conditions() []Condition { return conditions(uploadFilters, q) }

// Conditions returns q's conditions on files and their uploads.
func (q *FileQuery) Conditions() []Condition { return conditions(fileFilters, q) }

func conditions[Q any](table []filter[Q], q *Q) (all []Condition) {
	for _, f := range table {
		if f.where != nil {
			all = append(all, f.where(q)...)
		}
	}
	return all
}

// completion asks for uploads by their completion, or for incomplete ones.
func completion(q *UploadQuery) (all []Condition) {
	if q.Completed != nil {
		all = append(within("ended_at", q.Completed), Condition{Term: "outcome = ?", Args: []any{string(upload.Completed)}})
	}
	if q.Incomplete {
		all = append(all, Condition{Term: "(outcome IS NULL OR outcome <> ?)", Args: []any{string(upload.Completed)}})
	}
	return all
}

// outcome asks for uploads by their outcome, or for running ones.
func outcome(q *UploadQuery) []Condition {
	switch {
	case q.Running:
		return []Condition{{Term: "ended_at IS NULL"}}
	case q.Outcome != "":
		return []Condition{{Term: "outcome = ?", Args: []any{string(q.Outcome)}}}
	}
	return nil
}

// within requires a column to be in a span, which may be nil.
func within(column string, span *Span) []Condition {
	if span == nil {
		return nil
	}
	return []Condition{{Column: column, Span: span}}
}

// holds requires a term to be true, or false; want may be nil.
func holds(term string, want *bool) []Condition {
	switch {
	case want == nil:
		return nil
	case !*want:
		term = "NOT (" + term + ")"
	}
	return []Condition{{Term: term}}
}

// among requires a column to be one of the wanted texts, if any, and none of the excluded.
func among(column string, texts []Term) (all []Condition) {
	for _, not := range []bool{false, true} {
		var values []any
		for _, t := range texts {
			if t.Not == not {
				values = append(values, t.Text)
			}
		}
		if len(values) > 0 {
			op := map[bool]string{false: " IN (", true: " NOT IN ("}[not]
			all = append(all, Condition{Term: column + op + strings.Repeat("?, ", len(values)-1) + "?)", Args: values})
		}
	}
	return all
}

// ofUpload applies conditions to a file's upload.
func ofUpload(conditions []Condition) []Condition {
	all := slices.Clone(conditions)
	for i := range all {
		all[i].OfUpload = true
	}
	return all
}
