package records

import (
	"context"
	"fmt"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/web/exchange"
)

const (
	// storedBatch is the number of files of an upload read at once.
	storedBatch = 1000
	// namesBatch is the number of names of skipped and ignored members read at once.
	namesBatch = 5000
)

// recordsGone is the error of an answer that can't be completed because records were removed meanwhile.
func recordsGone() error { return fmt.Errorf("%w: it expired meanwhile", exchange.ErrNoRecord) }

// An uploadList is a page of uploads, each with the names of its skipped and ignored members.
type uploadList struct {
	*Server
	uploads []catalogue.Upload
	end     uploadListEnd
}

// WriteJSON implements exchange.Streamed.
func (l *uploadList) WriteJSON(ctx context.Context, w *exchange.JSONWriter) error {
	return w.Object(nil, func() error {
		err := w.Array("uploads", func() error {
			for rest := l.uploads; len(rest) > 0; {
				n := together(rest)
				if err := l.writeUploads(ctx, w, rest[:n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			return nil
		})
		if err != nil {
			return err
		}
		return w.Fields(l.end)
	})
}

// together returns the number of uploads to read names of at once: one with many, or several with few.
func together(uploads []catalogue.Upload) int {
	n, names := 1, uploads[0].Skipped+uploads[0].Ignored
	for n < min(len(uploads), catalogue.MaxPassedUploads) {
		if names += uploads[n].Skipped + uploads[n].Ignored; names > namesBatch {
			break
		}
		n++
	}
	return n
}

// writeUploads writes uploads with the names of their skipped and ignored members.
func (s *Server) writeUploads(ctx context.Context, w *exchange.JSONWriter, uploads []catalogue.Upload) error {
	if len(uploads) == 1 {
		return w.Object(newUploadRecord(&uploads[0]), func() error { return s.writePassed(ctx, w, &uploads[0]) })
	}
	skipped, err := s.passedBy(ctx, uploads, false)
	if err != nil {
		return err
	}
	ignored, err := s.passedBy(ctx, uploads, true)
	if err != nil {
		return err
	}
	for i := range uploads {
		u := &uploads[i]
		err := w.Object(newUploadRecord(u), func() error {
			return w.Fields(struct {
				Skipped []string `json:"skipped_keys"`
				Ignored []string `json:"ignored_keys"`
			}{append([]string{}, skipped[u.ID]...), append([]string{}, ignored[u.ID]...)})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// passedBy returns the names of skipped or ignored members, by upload.
func (s *Server) passedBy(ctx context.Context, uploads []catalogue.Upload, ignored bool) (map[int64][]string, error) {
	q := catalogue.PassedQuery{Ignored: ignored, Behind: -1, Limit: namesBatch + 1}
	for i := range uploads {
		if u := &uploads[i]; !ignored && u.Skipped > 0 || ignored && u.Ignored > 0 {
			q.Uploads = append(q.Uploads, u.ID)
		}
	}
	names := make(map[int64][]string)
	if len(q.Uploads) == 0 {
		return names, nil
	}
	passed, err := s.passed(ctx, &q)
	for i := range passed {
		names[passed[i].UploadID] = append(names[passed[i].UploadID], passed[i].Name)
	}
	return names, err
}

// passed is PassedFiles, in a slot.
func (s *Server) passed(ctx context.Context, q *catalogue.PassedQuery) (passed []catalogue.Passed, err error) {
	err = s.inTurn(ctx, func() error {
		passed, err = s.Files.PassedFiles(ctx, q)
		return err
	})
	return passed, err
}

// writePassed writes the names of an upload's skipped and ignored members, as two fields.
func (s *Server) writePassed(ctx context.Context, w *exchange.JSONWriter, u *catalogue.Upload) error {
	if err := w.Array("skipped_keys", func() error { return s.writeNames(ctx, w, u, u.Skipped, false) }); err != nil {
		return err
	}
	return w.Array("ignored_keys", func() error { return s.writeNames(ctx, w, u, u.Ignored, true) })
}

func (s *Server) writeNames(ctx context.Context, w *exchange.JSONWriter, u *catalogue.Upload, members int, ignored bool) error {
	q := catalogue.PassedQuery{Uploads: []int64{u.ID}, Ignored: ignored, Behind: -1, Limit: namesBatch}
	for members > 0 {
		passed, err := s.passed(ctx, &q)
		if err != nil {
			return err
		}
		for i := range passed {
			if err := w.Value(passed[i].Name); err != nil {
				return err
			}
			q.Behind = passed[i].Position
		}
		if members -= len(passed); len(passed) < q.Limit {
			break
		}
	}
	if members > 0 && !ignored { // some ignored members are no names
		return recordsGone()
	}
	return nil
}

// A wholeUpload is an upload with its files in storage, and related uploads.
type wholeUpload struct {
	*Server
	upload  *catalogue.Upload
	related []catalogue.Upload
}

// WriteJSON implements exchange.Streamed.
func (u *wholeUpload) WriteJSON(ctx context.Context, w *exchange.JSONWriter) error {
	return w.Object(nil, func() error {
		w.Field("upload")
		return u.writeUpload(ctx, w, u.upload, func() error {
			return w.Array("related", func() error {
				for i := range u.related {
					if err := u.writeUpload(ctx, w, &u.related[i], func() error { return nil }); err != nil {
						return err
					}
				}
				return nil
			})
		})
	})
}

// writeUpload writes an upload with its files, and rest's fields.
func (s *Server) writeUpload(ctx context.Context, w *exchange.JSONWriter, u *catalogue.Upload, rest func() error) error {
	return w.Object(newUploadRecord(u), func() error {
		if err := w.Array("file_uploads", func() error { return s.writeStored(ctx, w, u) }); err != nil {
			return err
		}
		if err := s.writePassed(ctx, w, u); err != nil {
			return err
		}
		return rest()
	})
}

func (s *Server) writeStored(ctx context.Context, w *exchange.JSONWriter, u *catalogue.Upload) error {
	behind := int64(-1)
	for left := u.Uploaded; left > 0; {
		var files []catalogue.File
		err := s.inTurn(ctx, func() (err error) {
			files, err = s.Files.StoredFiles(ctx, u, behind, storedBatch)
			return err
		})
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return recordsGone()
		}
		for i := range files {
			if err := w.Value(newFileRecord(&files[i])); err != nil {
				return err
			}
			behind = files[i].Position
		}
		left -= len(files)
	}
	return nil
}

// A wholeFile is all that is known of a file, and its upload.
type wholeFile struct {
	*Server
	file *catalogue.File
}

// WriteJSON implements exchange.Streamed.
func (f *wholeFile) WriteJSON(ctx context.Context, w *exchange.JSONWriter) error {
	return w.Object(nil, func() error {
		w.Field("file")
		return w.Object(newOneFile(f.file), func() error {
			w.Field("upload")
			return w.Object(newUploadRecord(f.file.Upload), func() error { return f.writePassed(ctx, w, f.file.Upload) })
		})
	})
}
