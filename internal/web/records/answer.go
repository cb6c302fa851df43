package records

import (
	"encoding/hex"
	"time"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// Fields have the names and meanings of Tecken's API; those after them are ours. Long arrays are no fields here: they are streamed after
// these.

// notCounted is the total of a list that was not counted to its end. Tecken's is the same, and its pages show it as "lots".
const notCounted = 1_000_000

// pageAnswer is a page's query, and the next page.
type pageAnswer struct {
	BatchSize int  `json:"batch_size"`
	HasNext   bool `json:"has_next"`
	Total     int  `json:"total"`

	NextPage *string `json:"next_page"` // the parameter page of the next one
}

// newPageAnswer describes a page after others. If all records were counted up to it, and it is the last one, the total is exact.
func newPageAnswer(limit int, after string, skipped, found int, next string) pageAnswer {
	p := pageAnswer{BatchSize: limit, HasNext: next != "", Total: notCounted, NextPage: orNull(next)}
	if after == "" && next == "" {
		p.Total = skipped + found
	}
	return p
}

type userAnswer struct {
	ID    int64  `json:"id"`
	Email string `json:"email"`
}

// uploadRecord is an upload in every answer.
type uploadRecord struct {
	ID           int64      `json:"id"`
	User         userAnswer `json:"user"`
	Filename     string     `json:"filename"`
	Size         int64      `json:"size"`
	BucketName   string     `json:"bucket_name"`
	TrySymbols   bool       `json:"try_symbols"`
	DownloadURL  *string    `json:"download_url"`
	RedirectURLs []string   `json:"redirect_urls"`
	CreatedAt    time.Time  `json:"created_at"`
	CompletedAt  *time.Time `json:"completed_at"` // null unless all of it was stored
	FilesCount   int        `json:"files_count"`  // stored
	Incomplete   int        `json:"files_incomplete_count"`

	EndedAt      *time.Time `json:"ended_at"` // null while running, or when the process died
	Outcome      *string    `json:"outcome"`  // likewise
	Error        *string    `json:"error"`
	Format       string     `json:"format"`
	TokenLabel   string     `json:"token_label"`
	SkippedCount int        `json:"skipped_count"`
	IgnoredCount int        `json:"ignored_count"`
}

func newUploadRecord(u *catalogue.Upload) uploadRecord {
	r := uploadRecord{
		ID:           u.ID,
		User:         userAnswer{u.UserID, u.User},
		Filename:     u.Filename,
		Size:         u.Size,
		BucketName:   u.Bucket,
		TrySymbols:   u.Try,
		DownloadURL:  orNull(u.DownloadURL),
		RedirectURLs: append([]string{}, u.RedirectURLs...), // never null
		CreatedAt:    u.CreatedAt,
		FilesCount:   u.Uploaded,
		Incomplete:   u.Pending,
		EndedAt:      orNull(u.EndedAt),
		Outcome:      orNull(string(u.Outcome)),
		Error:        orNull(u.Error),
		Format:       u.Format,
		TokenLabel:   u.TokenLabel,
		SkippedCount: u.Skipped,
		IgnoredCount: u.Ignored,
	}
	if u.Outcome == upload.Completed {
		r.CompletedAt = r.EndedAt
	}
	return r
}

// orNull returns nil for a zero value.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// uploadListEnd follows the uploads of a list.
type uploadListEnd struct {
	CanViewAll bool        `json:"can_view_all"`
	OrderBy    orderAnswer `json:"order_by"`
	pageAnswer
}

type orderAnswer struct {
	Sort    string `json:"sort"`
	Reverse bool   `json:"reverse"`
}

func newUploadListEnd(q *catalogue.UploadQuery, page *catalogue.Uploads, all bool) uploadListEnd {
	end := uploadListEnd{
		CanViewAll: all,
		OrderBy:    orderAnswer{Sort: "created_at", Reverse: !q.Ascending},
		pageAnswer: newPageAnswer(q.Limit, q.After, page.Skipped, len(page.Uploads), page.Next),
	}
	if q.BySize {
		end.OrderBy.Sort = "size"
	}
	return end
}

// fileRecord is a file in every answer.
type fileRecord struct {
	ID          int64      `json:"id"`
	Key         *string    `json:"key"` // null of an ignored member, which no list has
	Update      bool       `json:"update"`
	Compressed  bool       `json:"compressed"`
	Size        int64      `json:"size"` // as stored; 0 unless it was
	BucketName  string     `json:"bucket_name"`
	CreatedAt   time.Time  `json:"created_at"`
	CompletedAt *time.Time `json:"completed_at"`

	Name         string  `json:"name"` // as sent
	State        string  `json:"state"`
	StoredSize   int64   `json:"stored_size"`   // the same as size
	OriginalSize int64   `json:"original_size"` // uncompressed
	MD5          *string `json:"md5"`           // of the uncompressed bytes, in hexadecimal
}

func newFileRecord(f *catalogue.File) fileRecord {
	r := fileRecord{
		ID:           f.ID,
		Update:       f.Replaced,
		Size:         f.StoredSize,
		BucketName:   f.Upload.Bucket,
		CreatedAt:    f.Upload.CreatedAt,
		Name:         f.Name,
		State:        string(f.State),
		StoredSize:   f.StoredSize,
		OriginalSize: f.Size,
	}
	if f.Key != (symbol.Key{}) {
		r.Key, r.Compressed = orNull(f.Key.String()), f.Key.IsSym()
	}
	if f.MD5 != (upload.MD5{}) {
		r.MD5 = orNull(hex.EncodeToString(f.MD5[:]))
	}
	if f.State != upload.FilePending {
		r.CompletedAt = orNull(f.Upload.EndedAt)
	}
	return r
}

type fileList struct {
	Files []fileOfUpload `json:"files"`
	pageAnswer
	CanViewAll bool `json:"can_view_all"`
}

type fileOfUpload struct {
	fileRecord
	Upload uploadOfFile `json:"upload"`
}

type uploadOfFile struct {
	ID         int64      `json:"id"`
	UploadType string     `json:"upload_type"`
	TrySymbols bool       `json:"try_symbols"`
	User       userAnswer `json:"user"`
	CreatedAt  time.Time  `json:"created_at"`
}

func newFileList(q *catalogue.FileQuery, page *catalogue.Files, all bool) fileList {
	l := fileList{
		Files:      make([]fileOfUpload, len(page.Files)),
		pageAnswer: newPageAnswer(q.Limit, q.After, page.Skipped, len(page.Files), page.Next),
		CanViewAll: all,
	}
	for i := range page.Files {
		u := page.Files[i].Upload
		of := uploadOfFile{u.ID, "regular", u.Try, userAnswer{u.UserID, u.User}, u.CreatedAt}
		if u.Try {
			of.UploadType = "try"
		}
		l.Files[i] = fileOfUpload{newFileRecord(&page.Files[i]), of}
	}
	return l
}

// oneFile is all that is known of a file, without its upload.
type oneFile struct {
	fileRecord
	URL           *string `json:"url"` // where it is downloaded; null unless it is in storage
	DebugFilename *string `json:"debug_filename"`
	DebugID       *string `json:"debug_id"`
	CodeFile      *string `json:"code_file"`
	CodeID        *string `json:"code_id"`
	Generator     *string `json:"generator"`

	Module *moduleAnswer `json:"module"`
}

// moduleAnswer is a .sym's module.
type moduleAnswer struct {
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	DebugFile string `json:"debug_file"`
	DebugID   string `json:"debug_id"`
	CodeFile  string `json:"code_file"`
	CodeID    string `json:"code_id"`
	Generator string `json:"generator"`
}

func newOneFile(f *catalogue.File) oneFile {
	h := &f.Header
	a := oneFile{
		fileRecord:    newFileRecord(f),
		DebugFilename: orNull(h.DebugFile),
		DebugID:       orNull(h.DebugID),
		CodeFile:      orNull(h.CodeFile),
		CodeID:        orNull(h.CodeID),
		Generator:     orNull(h.Generator),
	}
	if *h != (symbol.Header{}) {
		a.Module = &moduleAnswer{h.OS, h.Arch, h.DebugFile, h.DebugID, h.CodeFile, h.CodeID, h.Generator}
	}
	if f.State == upload.FileUploaded || f.State == upload.FileSkipped {
		url := "/" + f.Key.URLPath()
		if f.Upload.Try {
			url += "?try"
		}
		a.URL = &url
	}
	return a
}

type statsAnswer struct {
	Stats struct {
		Uploads tallies `json:"uploads"`

		Files tallies `json:"files"`
	} `json:"stats"`
}

type tallies struct {
	All       bool  `json:"all_uploads"` // of every user
	Today     tally `json:"today"`
	Yesterday tally `json:"yesterday"`
	Month     tally `json:"last_30_days"`
}

type tally struct {
	Count int64 `json:"count"`
	Size  int64 `json:"total_size"`
}

func newStats(s *catalogue.Stats, all bool) (a statsAnswer) {
	a.Stats.Uploads = tallies{all, tally(s.UploadsToday), tally(s.UploadsYesterday), tally(s.UploadsMonth)}
	a.Stats.Files = tallies{all, tally(s.FilesToday), tally(s.FilesYesterday), tally(s.FilesMonth)}
	return a
}
