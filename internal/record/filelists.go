package record

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/symbol"
)

// listedColumns are those of a file's record, in the order that scanFile reads them in.
const listedColumns = `id, upload_id, position, name, COALESCE(debug_file, ''), COALESCE(debug_id, ''), COALESCE(file, ''),
	state, size, stored_size, md5,
	COALESCE(module_os, ''), COALESCE(module_arch, ''), COALESCE(module_debug_file, ''), COALESCE(module_debug_id, ''),
	COALESCE(code_file, ''), COALESCE(code_id, ''), COALESCE(generator, '')`

// A listed file is one whose upload is known by its id alone.
type listed struct {
	catalogue.File
	uploadID, position int64
}

func scanFile(row interface{ Scan(...any) error }) (f listed, err error) {
	var debugFile, debugID, file string
	var md5 []byte
	err = row.Scan(&f.ID, &f.uploadID, &f.position, &f.Name, &debugFile, &debugID, &file,
		&f.State, &f.Size, &f.StoredSize, &md5,
		&f.Header.OS, &f.Header.Arch, &f.Header.DebugFile, &f.Header.DebugID,
		&f.Header.CodeFile, &f.Header.CodeID, &f.Header.Generator)
	if err == nil && debugFile != "" {
		f.Key, err = symbol.NewKey(debugFile, debugID, file)
	}
	copy(f.MD5[:], md5)
	return f, err
}

// FileRecord returns the record of the file with the given id, or upload.ErrNotFound.
func (s *Store) FileRecord(ctx context.Context, id int64) (catalogue.File, error) {
	var found catalogue.Files
	err := s.query(ctx, fmt.Sprintf("read the record of file %d", id), func(ctx context.Context) error {
		f, err := scanFile(s.row(ctx, "SELECT "+listedColumns+" FROM files WHERE id = ?", []any{id}))
		if err != nil {
			return err
		}
		found, err = s.withUploads(ctx, []listed{f})
		if err == nil && len(found.Files) == 0 {
			err = sql.ErrNoRows // it went in between
		}
		return err
	})
	if err != nil {
		return catalogue.File{}, err
	}
	return found.Files[0], nil
}

// ListFiles returns a page of the files that q asks for. The error wraps catalogue.ErrCursor where q.After is not of
// this list.
func (s *Store) ListFiles(ctx context.Context, q *catalogue.FileQuery) (page catalogue.Files, err error) {
	err = s.query(ctx, "list files", func(ctx context.Context) error {
		page, err = s.listFiles(ctx, q)
		return err
	})
	return page, err
}

func (s *Store) listFiles(ctx context.Context, q *catalogue.FileQuery) (page catalogue.Files, err error) {
	if q.Size.Empty() || q.Created.Empty() {
		return page, nil
	}
	var found []listed
	var next string
	if q.UploadID == 0 && q.DebugFile == "" {
		found, next, err = s.filesByUpload(ctx, q)
	} else {
		found, next, err = s.filesByKey(ctx, q)
	}
	if err != nil {
		return page, err
	}
	page, err = s.withUploads(ctx, found)
	page.Next = next
	return page, err
}

// withUploads looks up the uploads of files. A file whose upload is gone goes with it.
func (s *Store) withUploads(ctx context.Context, files []listed) (page catalogue.Files, err error) {
	ids := make([]int64, len(files))
	for i := range files {
		ids[i] = files[i].uploadID
	}
	slices.Sort(ids)
	uploads, err := s.uploadsByID(ctx, slices.Compact(ids))
	if err != nil {
		return page, err
	}
	for i := range files {
		if u := uploads[files[i].uploadID]; u != nil {
			files[i].Upload = u
			page.Files = append(page.Files, files[i].File)
		}
	}
	return page, nil
}

// filesByKey lists the files of one upload, or of debug files, off an index of their own.
func (s *Store) filesByKey(ctx context.Context, q *catalogue.FileQuery) (found []listed, next string, err error) {
	userID, ok, err := s.userOf(ctx, q.UserID, q.User)
	if err != nil || !ok {
		return nil, "", err
	}
	l, w, err := fileWalk(q)
	if err != nil {
		return nil, "", err
	}
	if l != listUploadFiles {
		w.filterFiles(q, userID)
	}
	last, err := w.page(ctx, s, listedColumns, q.Limit, func(rows *sql.Rows) ([]any, error) {
		f, err := scanFile(rows)
		found = append(found, f)
		switch l {
		case listUploadFiles:
			return []any{f.position}, err
		case listPrefix:
			return []any{f.Key.DebugFile(), f.ID}, err
		default:
			return []any{f.ID}, err
		}
	})
	return found, l.cursor(last), err
}

// fileWalk plans the way through the files of one upload, or of debug files.
func fileWalk(q *catalogue.FileQuery) (l list, w *walk, err error) {
	w = &walk{table: "files", reverse: true, present: true}
	switch {
	case q.UploadID != 0:
		l, w.reverse = listUploadFiles, false
		w.key, w.same = []string{"upload_id", "position"}, []any{q.UploadID}
	case q.Prefix:
		l, w.reverse = listPrefix, false
		w.key, w.from, w.until = []string{"debug_file", "id"}, q.DebugFile, behind(q.DebugFile)
	case q.DebugID != "":
		l = listDebugID
		w.key, w.same = []string{"debug_file", "debug_id", "id"}, []any{q.DebugFile, q.DebugID}
	default:
		l = listDebugFile
		w.key, w.same = []string{"debug_file", "id"}, []any{q.DebugFile}
	}
	number := anID
	if l == listUploadFiles {
		number = aPosition
	}
	if w.after, err = l.key(q.After, l == listPrefix, number); err != nil || w.after == nil {
		return l, w, err
	}
	if name, ok := w.after[0].(string); ok && (name < q.DebugFile || name >= behind(q.DebugFile) || text(name) != name) {
		return l, w, fmt.Errorf("page %.40q: %w", q.After, catalogue.ErrCursor)
	}
	return l, w, nil
}

// behind returns the first text behind all that begin with prefix, which is printable ASCII.
func behind(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string(prefix[last]+1)
}

// filterFiles adds what no index of files tells. That of uploads is asked for row by row: of a join, a planner may
// make a look at all uploads.
func (w *walk) filterFiles(q *catalogue.FileQuery, userID int64) {
	if q.File != "" && q.DebugID != "" && !q.Prefix {
		w.filter.add("file = ?", q.File)
	}
	w.filter.span("size", q.Size)
	of := walk{}
	of.filterUploads(q.Try, q.Bucket)
	if userID != 0 {
		of.filter.add("user_id = ?", userID)
	}
	of.filter.span("created_at", q.Created)
	if len(of.filter.terms) != 0 {
		w.filter.add("(SELECT "+strings.Join(of.filter.terms, " AND ")+" FROM uploads WHERE id = upload_id)", of.filter.args...)
	}
}
