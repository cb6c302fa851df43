package server

import (
	"encoding/hex"
	"time"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// Fields have the names of Tecken's API, where that has them.

// pageAnswer tells of a page how it came about, and where the next one is.
type pageAnswer struct {
	BatchSize int     `json:"batch_size"`
	HasNext   bool    `json:"has_next"`
	NextPage  *string `json:"next_page"` // the parameter page of the next one
	Total     *int    `json:"total"`     // null where the list does not fit one page
}

func newPageAnswer(limit, found int, after, next string) pageAnswer {
	p := pageAnswer{BatchSize: limit, HasNext: next != ""}
	if p.HasNext {
		p.NextPage = &next
	} else if after == "" {
		p.Total = &found
	}
	return p
}

type userAnswer struct {
	ID    int64  `json:"id"`
	Email string `json:"email"`
}

type uploadRecord struct {
	ID              int64      `json:"id"`
	User            userAnswer `json:"user"`
	Filename        string     `json:"filename"`
	Size            int64      `json:"size"`
	BucketName      string     `json:"bucket_name"`
	TrySymbols      bool       `json:"try_symbols"`
	DownloadURL     *string    `json:"download_url"`
	RedirectURLs    []string   `json:"redirect_urls"`
	CreatedAt       time.Time  `json:"created_at"`
	CompletedAt     *time.Time `json:"completed_at"`
	Outcome         *string    `json:"outcome"` // null while running, or when the process died
	Error           *string    `json:"error"`
	Format          string     `json:"format"`
	TokenLabel      string     `json:"token_label"`
	FilesCount      int        `json:"files_count"` // uploaded
	SkippedCount    int        `json:"skipped_count"`
	IgnoredCount    int        `json:"ignored_count"`
	IncompleteCount int        `json:"files_incomplete_count"`
}

func newUploadRecord(u *catalogue.Upload) uploadRecord {
	return uploadRecord{
		ID:              u.ID,
		User:            userAnswer{u.UserID, u.User},
		Filename:        u.Filename,
		Size:            u.Size,
		BucketName:      u.Bucket,
		TrySymbols:      u.Try,
		DownloadURL:     orNull(u.DownloadURL),
		RedirectURLs:    append([]string{}, u.RedirectURLs...), // never null
		CreatedAt:       u.CreatedAt,
		CompletedAt:     orNull(u.EndedAt),
		Outcome:         orNull(string(u.Outcome)),
		Error:           orNull(u.Error),
		Format:          u.Format,
		TokenLabel:      u.TokenLabel,
		FilesCount:      u.Uploaded,
		SkippedCount:    u.Skipped,
		IgnoredCount:    u.Ignored,
		IncompleteCount: u.Pending,
	}
}

// orNull returns nil for a zero value.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

type uploadList struct {
	Uploads    []uploadRecord `json:"uploads"`
	CanViewAll bool           `json:"can_view_all"`
	OrderBy    orderAnswer    `json:"order_by"`
	pageAnswer
}

type orderAnswer struct {
	Sort    string `json:"sort"`
	Reverse bool   `json:"reverse"`
}

func newUploadList(q *catalogue.UploadQuery, page *catalogue.Uploads, all bool) uploadList {
	l := uploadList{
		Uploads:    make([]uploadRecord, len(page.Uploads)),
		CanViewAll: all,
		OrderBy:    orderAnswer{Sort: "created_at", Reverse: !q.Ascending},
		pageAnswer: newPageAnswer(q.Limit, len(page.Uploads), q.After, page.Next),
	}
	if q.BySize {
		l.OrderBy.Sort = "size"
	}
	for i := range page.Uploads {
		l.Uploads[i] = newUploadRecord(&page.Uploads[i])
	}
	return l
}

type fileRecord struct {
	ID          int64      `json:"id"`
	Name        string     `json:"name"` // as sent
	Key         *string    `json:"key"`  // null for an ignored member
	State       string     `json:"state"`
	BucketName  string     `json:"bucket_name"`
	Compressed  bool       `json:"compressed"`
	Size        int64      `json:"size"`
	StoredSize  int64      `json:"stored_size"` // 0 unless uploaded
	MD5         *string    `json:"md5"`         // of the uncompressed bytes, in hexadecimal
	CreatedAt   time.Time  `json:"created_at"`
	CompletedAt *time.Time `json:"completed_at"`
}

func newFileRecord(f *catalogue.File) fileRecord {
	r := fileRecord{
		ID:         f.ID,
		Name:       f.Name,
		State:      string(f.State),
		BucketName: f.Upload.Bucket,
		Size:       f.Size,
		StoredSize: f.StoredSize,
		CreatedAt:  f.Upload.CreatedAt,
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
	Files      []fileOfUpload `json:"files"`
	CanViewAll bool           `json:"can_view_all"`
	pageAnswer
}

type fileOfUpload struct {
	fileRecord
	Upload uploadOfFile `json:"upload"`
}

type uploadOfFile struct {
	ID         int64      `json:"id"`
	TrySymbols bool       `json:"try_symbols"`
	User       userAnswer `json:"user"`
	CreatedAt  time.Time  `json:"created_at"`
}

func newFileList(q *catalogue.FileQuery, page *catalogue.Files, all bool) fileList {
	l := fileList{
		Files:      make([]fileOfUpload, len(page.Files)),
		CanViewAll: all,
		pageAnswer: newPageAnswer(q.Limit, len(page.Files), q.After, page.Next),
	}
	for i := range page.Files {
		f := &page.Files[i]
		l.Files[i] = fileOfUpload{newFileRecord(f), uploadOfFile{f.Upload.ID, f.Upload.Try, userAnswer{f.Upload.UserID, f.Upload.User}, f.Upload.CreatedAt}}
	}
	return l
}

// oneUpload is an upload with a page of its files.
type oneUpload struct {
	Upload struct {
		uploadRecord
		FileUploads []fileRecord `json:"file_uploads"`
		SkippedKeys []string     `json:"skipped_keys"` // of these files
		IgnoredKeys []string     `json:"ignored_keys"`
	} `json:"upload"`
	pageAnswer
}

func newUploadWithFiles(q *catalogue.FileQuery, u *catalogue.Upload, page *catalogue.Files) oneUpload {
	a := oneUpload{pageAnswer: newPageAnswer(q.Limit, len(page.Files), q.After, page.Next)}
	a.Upload.uploadRecord = newUploadRecord(u)
	a.Upload.FileUploads = make([]fileRecord, len(page.Files))
	a.Upload.SkippedKeys, a.Upload.IgnoredKeys = []string{}, []string{}
	for i := range page.Files {
		f := &page.Files[i]
		a.Upload.FileUploads[i] = newFileRecord(f)
		switch f.State {
		case upload.FileSkipped:
			a.Upload.SkippedKeys = append(a.Upload.SkippedKeys, f.Name)
		case upload.FileIgnored:
			if f.Key != (symbol.Key{}) {
				continue // the same file twice counts once, as in the answer to the upload
			}
			a.Upload.IgnoredKeys = append(a.Upload.IgnoredKeys, f.Name)
		case upload.FileUploaded, upload.FilePending:
		}
	}
	return a
}

// oneFile is a file with all that is known of it.
type oneFile struct {
	File struct {
		fileRecord
		URL    *string       `json:"url"` // where it is downloaded; null unless it is in storage
		Module *moduleAnswer `json:"module"`
		Upload uploadRecord  `json:"upload"`
	} `json:"file"`
}

// moduleAnswer is what a .sym says of its module.
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
	var a oneFile
	a.File.fileRecord, a.File.Upload = newFileRecord(f), newUploadRecord(f.Upload)
	if f.State == upload.FileUploaded || f.State == upload.FileSkipped {
		url := "/" + f.Key.URLPath()
		if f.Upload.Try {
			url += "?try"
		}
		a.File.URL = &url
	}
	if h := &f.Header; *h != (symbol.Header{}) {
		a.File.Module = &moduleAnswer{h.OS, h.Arch, h.DebugFile, h.DebugID, h.CodeFile, h.CodeID, h.Generator}
	}
	return a
}

type statsAnswer struct {
	Stats struct {
		Uploads tallies `json:"uploads"`
		Files   tallies `json:"files"`
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
