package uploads

import (
	"time"

	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

// uploadBody is the protocol's answer to an upload.
type uploadBody struct {
	Upload uploadAnswer `json:"upload"`
}

type uploadAnswer struct {
	ID           int64      `json:"id"`
	Size         int64      `json:"size"`
	Filename     string     `json:"filename"`
	Bucket       string     `json:"bucket"`
	DownloadURL  *string    `json:"download_url"`
	TrySymbols   bool       `json:"try_symbols"`
	RedirectURLs []string   `json:"redirect_urls"`
	CompletedAt  *time.Time `json:"completed_at"`
	CreatedAt    time.Time  `json:"created_at"`
	User         string     `json:"user"`
	SkippedKeys  []string   `json:"skipped_keys"`
	UploadedKeys []string   `json:"uploaded_keys"`
	IgnoredKeys  []string   `json:"ignored_keys"`
}

func newUploadBody(u *upload.Upload) uploadBody {
	a := uploadAnswer{
		ID:           u.ID,
		Size:         u.Size,
		Filename:     u.Filename,
		Bucket:       u.Bucket,
		TrySymbols:   u.Try,
		RedirectURLs: []string{},
		CreatedAt:    u.CreatedAt,
		User:         u.User,
		SkippedKeys:  []string{},
		UploadedKeys: []string{},
		IgnoredKeys:  []string{},
	}
	if u.DownloadURL != "" {
		a.DownloadURL = &u.DownloadURL
	}
	a.RedirectURLs = append(a.RedirectURLs, u.RedirectURLs...)
	if u.Outcome == upload.Completed {
		a.CompletedAt = &u.EndedAt
	}
	for i := range u.Files {
		name, second := u.Files[i].Name, u.Files[i].Key != symbol.Key{}
		switch u.Files[i].State {
		case upload.FileUploaded:
			a.UploadedKeys = append(a.UploadedKeys, name)
		case upload.FileSkipped:
			a.SkippedKeys = append(a.SkippedKeys, name)
		case upload.FileIgnored:
			if second {
				continue // the same file twice counts once
			}
			a.IgnoredKeys = append(a.IgnoredKeys, name)
		case upload.FilePending:
		}
	}
	return uploadBody{Upload: a}
}
