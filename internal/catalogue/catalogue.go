// Package catalogue is the language in which records are asked for: what a list may be filtered by, and what is
// known of an upload or a file. The web asks in it, package record answers.
//
// A filter is one entry of a table in filters.go: the name of its parameter, how its value is read, and its condition. Tests fail where a
// filter narrows nothing down in one of the databases, or where docs/openapi.yaml does not name it.
//
// Every list is bounded: a page has at most Limit records, and is read from a bounded number of rows, however many
// there are. A page may therefore hold fewer records than Limit, even none, and still have a Next: only a page
// without one is the last. A Next says where the page ended: while records are added, a reader that follows it sees every
// record that was there when it began exactly once, unless it is removed meanwhile. Skip counts instead, through the first
// records of a list: those that are added meanwhile move the others on.
package catalogue

import (
	"errors"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// ErrCursor is wrapped by the error about an After that is no Next of a page of the same list.
var ErrCursor = errors.New("the page is not of this list")

// A Span is the numbers from From to before Until. Times are in microseconds since 1970.
type Span struct {
	From, Until int64
}

// Empty reports whether no number is in the span.
func (s *Span) Empty() bool { return s != nil && s.From >= s.Until }

// Holds reports whether n is in the span; every number is in a nil one.
func (s *Span) Holds(n int64) bool { return s == nil || s.From <= n && n < s.Until }

// A Term is a text that is asked for or, with Not, ruled out. The zero Term asks for nothing.
type Term struct {
	Text string
	Not  bool
}

// An UploadQuery asks for uploads. Each field that is not zero narrows it down.
type UploadQuery struct {
	UserID    int64
	User      Term  // part of the e-mail, in lower case
	Size      *Span // of the archive, in bytes
	Created   *Span
	Completed *Span // of those that were completed
	// Incomplete asks for those that were not completed.
	Incomplete bool
	Try        *bool
	Buckets    []Term // whole names: one of those that are asked for, if any are, and none of the others
	Outcome    upload.Outcome
	Running    bool // those without an end; Outcome is ignored

	BySize    bool // ordered by size, then by id; else by when it began, then by id
	Ascending bool // else the largest or newest come first

	Limit int    // at least 1
	After string // the Next of the page before; "" at the beginning
	Skip  int    // records to pass over first, at most MaxSkip: past that the page is empty, and its Next leads on
}

// A FileQuery asks for files that were stored. Each field that is not zero narrows it down.
//
// Files come newest upload first, in an archive's order inside of each; those of Keys in the order in which they were
// recorded, the newest first; those of Prefixes alone in the order of their keys, the oldest first.
type FileQuery struct {
	UserID     int64
	User       Term  // part of the e-mail, in lower case
	Size       *Span // of the file as stored, in bytes
	Created    *Span // of the upload
	Completed  *Span // of the upload's end
	Try        *bool
	Buckets    []Term // as of uploads
	Compressed *bool  // stored as gzip
	Replaced   *bool  // stored in the place of another file of that key

	// Keys are parts of the key, all of which it has in it, in any case: as symbol.Fold leaves them. One of fewer than
	// MinPart characters is what the key begins with, and so is each where the database has no index of the insides of keys.
	Keys []string
	// Prefixes are what the key begins with, in any case: as symbol.Fold leaves them.
	Prefixes []string

	Limit int // these are as of uploads
	After string
	Skip  int
}

// MaxSkip is how many records of a list are passed over by counting.
const MaxSkip = 10_000

// MinPart is how many characters a part of a key has at least that is looked for inside of keys.
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

// A PassedQuery asks for the members of uploads that were passed over, by their names.
type PassedQuery struct {
	Uploads []int64 // at most MaxPassedUploads; one, where there may be more members than Limit
	Ignored bool    // those that were ignored, else those that were skipped
	Behind  int64   // a position; -1 at the beginning
	Limit   int     // of names, at least 1
}

// MaxPassedUploads is how many uploads may be asked for at once.
const MaxPassedUploads = 256

// A Passed is a member that was passed over.
type Passed struct {
	UploadID, Position int64
	Name               string
}

// Uploads is a page of uploads.
type Uploads struct {
	Uploads []Upload
	Next    string // the After of the next page; empty on the last
	Skipped int    // records that were passed over, at most Skip; fewer where there are no more
}

// Files is a page of files.
type Files struct {
	Files   []File
	Next    string // the After of the next page; empty on the last
	Skipped int    // as of uploads
}

// A Tally counts uploads that have ended, or files that were stored, and their bytes.
type Tally struct {
	Count, Size int64
}

// Stats are tallies of days in UTC: this one, the one before, and this one with the 29 before.
type Stats struct {
	UploadsToday, UploadsYesterday, UploadsMonth Tally // bytes of archives
	FilesToday, FilesYesterday, FilesMonth       Tally // bytes as stored
}

// A SpellingQuery asks which files a key means that none is stored under.
type SpellingQuery struct {
	Key    symbol.Key // in any case
	CodeID bool       // its first two components may be a code file and a code id
	Try    bool       // of try uploads as well
}

// A Module is what the header of a .sym says of the binary it was made of, and the key that the .sym is stored under.
type Module struct {
	Key                                             symbol.Key
	Try                                             bool // of a try upload
	DebugFile, DebugID, CodeFile, CodeID, Generator string
}
