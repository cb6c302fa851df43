// Package catalogue is the language of queries for records: the filters of lists, and the facts of uploads and files. The web asks in it,
// package record answers.
//
// A filter is one entry of a table in filters.go: the name of its parameter, how its value is read, and its condition. Tests fail if a
// filter filters nothing in one of the databases, or docs/openapi.yaml lacks it.
//
// Every list is bounded: a page has at most Limit records, and is read from a bounded number of rows. A page may therefore have fewer
// records than Limit, even none, and still have a Next: only a page without one is the last. A Next is the end of a page: a reader that
// follows it while records are added sees every older record exactly once, unless it is removed meanwhile. Skip counts instead, through the
// first records of a list: added records shift the others.
package catalogue

import (
	"errors"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// ErrCursor is wrapped by the error about an After that is no Next of the same list.
var ErrCursor = errors.New("the page is not of this list")

// A Span is a range of numbers, From included, Until excluded. Times are in microseconds since 1970.
type Span struct {
	From, Until int64
}

// Empty reports whether no number is in the span.
func (s *Span) Empty() bool { return s != nil && s.From >= s.Until }

// Holds reports whether n is in the span; a nil one has every number.
func (s *Span) Holds(n int64) bool { return s == nil || s.From <= n && n < s.Until }

// A Term is a text to match or, with Not, to exclude. The zero Term matches everything.
type Term struct {
	Text string
	Not  bool
}

// An UploadQuery is a query for uploads. Each non-zero field limits it.
type UploadQuery struct {
	UserID    int64
	User      Term  // part of the e-mail, in lower case
	Size      *Span // of the archive, in bytes
	Created   *Span
	Completed *Span // of completed ones
	// Incomplete asks for uploads that were not completed.
	Incomplete bool
	Try        *bool
	Buckets    []Term // whole names: one of the wanted ones, if any, and none of the excluded
	Outcome    upload.Outcome
	Running    bool // without an end; Outcome is ignored

	BySize    bool // in order of size, then id; else of beginning, then id
	Ascending bool // else the largest or newest come first

	Limit int    // at least 1
	After string // the previous page's Next; "" at the beginning
	Skip  int    // records to skip first, at most MaxSkip: past that the page is empty, and its Next leads on
}

// A FileQuery is a query for stored files. Each non-zero field limits it.
//
// Files come newest upload first, in the archive's order; those of Keys in the order of their records, newest first; those of Prefixes
// alone in the order of their keys, oldest first.
type FileQuery struct {
	UserID     int64
	User       Term  // part of the e-mail, in lower case
	Size       *Span // of the file as stored, in bytes
	Created    *Span // of the upload
	Completed  *Span // of the upload's end
	Try        *bool
	Buckets    []Term // as of uploads
	Compressed *bool  // stored as gzip
	Replaced   *bool  // replaced another file of that key

	// Keys are parts that the key must contain, in any case, folded by symbol.Fold. One of fewer than MinPart characters is the key's
	// beginning, and so is each if the database has no trigram index of keys.
	Keys []string
	// Prefixes are beginnings of the key, in any case, folded by symbol.Fold.
	Prefixes []string

	Limit int // these are as of uploads
	After string
	Skip  int
}

// MaxSkip bounds the records skipped by counting.
const MaxSkip = 10_000

// MinPart is the least number of characters of a part found anywhere in keys.
const MinPart = 3

// An Upload is an upload's record, without its files.
type Upload struct {
	upload.Upload
	UserID                              int64
	Uploaded, Skipped, Ignored, Pending int // files by state; all 0 until the upload has ended
}

// A File is a file's record.
type File struct {
	upload.File
	ID       int64
	Position int64   // in the archive, from 0
	Upload   *Upload // that it came with
}

// A PassedQuery is a query for the names of skipped or ignored members.
type PassedQuery struct {
	Uploads []int64 // at most MaxPassedUploads; one, if there may be more members than Limit
	Ignored bool    // ignored members, else skipped ones
	Behind  int64   // after this position; -1 at the beginning
	Limit   int     // of names, at least 1
}

// MaxPassedUploads bounds the uploads of one query.
const MaxPassedUploads = 256

// A Passed is a skipped or ignored member.
type Passed struct {
	UploadID, Position int64
	Name               string
}

// Uploads is a page of uploads.
type Uploads struct {
	Uploads []Upload
	Next    string // the After of the next page; empty on the last
	Skipped int    // records skipped, at most Skip; fewer if there are no more
}

// Files is a page of files.
type Files struct {
	Files   []File
	Next    string // the After of the next page; empty on the last
	Skipped int    // as of uploads
}

// A Tally counts ended uploads, or stored files, and their bytes.
type Tally struct {
	Count, Size int64
}

// Stats are tallies of UTC days: today, yesterday, and today with the 29 days before.
type Stats struct {
	UploadsToday, UploadsYesterday, UploadsMonth Tally // bytes of archives
	FilesToday, FilesYesterday, FilesMonth       Tally // bytes as stored
}

// A SpellingQuery asks which stored files a key may mean, if none has that key.
type SpellingQuery struct {
	Key    symbol.Key // in any case
	CodeID bool       // its first two components may be a code file and a code id
	Try    bool       // of try uploads too
}

// A Module is the binary in the header of a .sym, and the .sym's key.
type Module struct {
	Key                                             symbol.Key
	Try                                             bool // of a try upload
	DebugFile, DebugID, CodeFile, CodeID, Generator string
}
