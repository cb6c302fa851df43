package upload

import (
	"crypto/md5"
	"io"
	"time"

	"tecken-upload/internal/symbol"
)

// An Outcome says how an upload ended. The empty Outcome belongs to an upload that has not ended, or
// that ended with its process.
type Outcome string

// The ends an upload can come to.
const (
	Completed   Outcome = "completed"   // everything is in storage, and committed
	Rejected    Outcome = "rejected"    // the request, its pace, its archive or where that was to be is at fault; nothing was published
	Failed      Outcome = "failed"      // we, or a backing service, are at fault
	TimedOut    Outcome = "timed_out"   // a deadline passed; what was published stays
	Cancelled   Outcome = "cancelled"   // the client hung up; what was published stays
	Interrupted Outcome = "interrupted" // the server shut down; what was published stays
)

// Lost is shown for an upload without an end once its process is known to have died. It is never recorded.
const Lost Outcome = "lost"

// A FileState says what became of one member of an archive.
type FileState string

// The states of a member. Pending is what remains of a member that a failed upload did not reach.
const (
	FilePending  FileState = "pending"
	FileUploaded FileState = "uploaded"
	FileSkipped  FileState = "skipped"
	FileIgnored  FileState = "ignored"
)

// An Upload is one upload's record.
type Upload struct {
	ID         int64     // assigned by Records.Begin; from 1, below 2^32
	User       string    // e-mail of the token's user
	TokenID    int64     // the tenant
	TokenLabel string    // what the client wrote behind the token's first "-"; at most 100 bytes of printable ASCII
	Filename   string    // the multipart field's name, or the fetched file's; at most 255 bytes of valid UTF-8
	Bucket     string    // the storage's name
	Try        bool      // a try upload, kept apart and for a shorter time
	Format     string    // "zip", "tar.gz", …; empty until known
	Size       int64     // bytes of the archive, as received
	CreatedAt  time.Time // when the body started to arrive
	EndedAt    time.Time // zero while running, and for ever when the process died
	Outcome    Outcome   // empty while running, and for ever when the process died
	Error      string    // one sentence where the outcome is not Completed
	Phase      Phase     // that it is in, or ended in; empty before the first, and in old records
	Progress   float64   // how much of the work on the body is done, from 0 to 1
	Files      []File    // in the archive's order; written by Records.Finish

	// DownloadURL is where the archive was to be fetched from, empty where the client sent it; RedirectURLs are the
	// addresses that this led to, in their order. They have neither user information nor a query.
	DownloadURL  string   // written by Records.Begin, or by Records.Finish where it was not known yet
	RedirectURLs []string // written by Records.Finish
}

// Lose shows u as an upload that its process did not live to end.
func (u *Upload) Lose() {
	u.Outcome, u.Error = Lost, "The server that ran this upload died before the upload ended. Send it again; what was stored will be skipped."
}

// A File is the record of one member.
type File struct {
	Name       string        // as sent, valid UTF-8
	Key        symbol.Key    // zero for an ignored member
	State      FileState     // what became of it
	Size       int64         // uncompressed bytes
	StoredSize int64         // bytes as stored; 0 unless uploaded
	Replaced   bool          // uploaded in the place of another file of that key
	MD5        MD5           // of the uncompressed bytes; zero until verified
	Header     symbol.Header // of a .sym; zero for others
}

// MD5 is a digest of uncompressed bytes: the identity of a symbol file. It guards against nothing but
// chance, like the protocol that prescribes it.
type MD5 [md5.Size]byte

// A Location says where a symbol file is stored: its key, and whether it belongs to try uploads, which
// have a prefix of their own.
type Location struct {
	Key symbol.Key
	Try bool
}

// An Object describes a symbol file in storage.
type Object struct {
	Size     int64     // uncompressed bytes; -1 where storage does not know
	MD5      MD5       // of the uncompressed bytes; zero where storage does not know
	Gzip     bool      // stored as gzip; what is not is stored as it is
	Modified time.Time // when it was last stored or refreshed
}

// A Body is the stored form of a symbol file: Size bytes with the IEEE CRC-32 CRC32. It is
// positioned at its start, and seeks back to it, so that a broken transfer can be tried again: Seek
// supports offset 0 with each whence, and may support more.
type Body struct {
	Reader io.ReadSeeker
	At     io.ReaderAt // the same bytes, safe for concurrent use; nil where they can only be read from their start
	Size   int64
	CRC32  uint32
}
