// Package catalogue is the language in which records are asked for: what a list may be filtered by, and what is
// known of an upload or a file. The server asks in it, package record answers.
//
// Every list is bounded: a page has at most Limit records, and is read from a bounded number of rows, however many
// there are. A page may therefore hold fewer records than Limit, even none, and still have a Next: only a page
// without one is the last. Pages are addressed by where the last one ended, not by counting: while records are added, a reader
// that follows Next sees every record that was there when it began exactly once, unless it is removed meanwhile.
package catalogue

import (
	"errors"

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

// An UploadQuery asks for uploads. Each field that is not zero narrows it down.
type UploadQuery struct {
	UserID  int64
	User    string // e-mail, in lower case
	Size    *Span  // of the archive, in bytes
	Created *Span
	Try     *bool
	Bucket  string
	Outcome upload.Outcome
	Running bool // those without an end; Outcome is ignored

	BySize    bool // ordered by size, then by id; else by when it began, then by id
	Ascending bool // else the largest or newest come first
	Limit     int  // at least 1
	After     string
}

// A FileQuery asks for files. Each field that is not zero narrows it down.
//
// Files come newest upload first, in an archive's order inside of each; those of one debug file newest first; those of a
// prefix in the order of their debug files, oldest first inside of each.
type FileQuery struct {
	UploadID int64 // no other field but Limit and After counts then
	UserID   int64
	User     string // e-mail, in lower case
	Size     *Span  // of the file, uncompressed, in bytes
	Created  *Span  // of the upload
	Try      *bool
	Bucket   string

	DebugFile string // exactly, or what it begins with
	Prefix    bool   // DebugFile is what it begins with; the next two are ignored
	DebugID   string // in upper case; needs a DebugFile
	File      string // needs a DebugID

	Limit int // at least 1
	After string
}

// An Upload is an upload's record, without its files.
type Upload struct {
	upload.Upload
	UserID                              int64
	Uploaded, Skipped, Ignored, Pending int // files by state; all 0 until the upload has ended
}

// A File is a file's record.
type File struct {
	upload.File
	ID     int64
	Upload *Upload // that it came with
}

// Uploads is a page of uploads.
type Uploads struct {
	Uploads []Upload
	Next    string // the After of the next page; empty on the last
}

// Files is a page of files.
type Files struct {
	Files []File
	Next  string // the After of the next page; empty on the last
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
