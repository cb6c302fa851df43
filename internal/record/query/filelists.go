package query

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/symbol"
)

// listedColumns are the columns of a file's record, in scanFile's order.
const listedColumns = `id, upload_id, position, name, COALESCE(debug_file, ''), COALESCE(debug_id, ''), COALESCE(file, ''),
	state, size, stored_size, replaced, md5,
	COALESCE(module_os, ''), COALESCE(module_arch, ''), COALESCE(module_debug_file, ''), COALESCE(module_debug_id, ''),
	COALESCE(code_file, ''), COALESCE(code_id, ''), COALESCE(generator, '')`

// A listed file has only the id of its upload.
type listed struct {
	catalogue.File
	uploadID int64
}

func scanFile(row interface{ Scan(...any) error }) (f listed, err error) {
	var debugFile, debugID, file string
	var md5 []byte
	err = row.Scan(&f.ID, &f.uploadID, &f.Position, &f.Name, &debugFile, &debugID, &file,
		&f.State, &f.Size, &f.StoredSize, &f.Replaced, &md5,
		&f.Header.OS, &f.Header.Arch, &f.Header.DebugFile, &f.Header.DebugID,
		&f.Header.CodeFile, &f.Header.CodeID, &f.Header.Generator)
	if err == nil && debugFile != "" {
		f.Key, err = symbol.NewKey(debugFile, debugID, file)
	}
	copy(f.MD5[:], md5)
	return f, err
}

// FileRecord returns the record of the file with the given id, or upload.ErrNotFound.
func (r *Reader) FileRecord(ctx context.Context, id int64) (catalogue.File, error) {
	return read(ctx, r, fmt.Sprintf("read the record of file %d", id), func(ctx context.Context, r *reading) (catalogue.File, error) {
		f, err := scanFile(r.row(ctx, "SELECT "+listedColumns+" FROM files WHERE id = ?", []any{id}))
		if err != nil {
			return catalogue.File{}, err
		}
		found, err := r.withUploads(ctx, []listed{f})
		if err != nil {
			return catalogue.File{}, err
		}
		if len(found.Files) == 0 {
			return catalogue.File{}, sql.ErrNoRows // removed in between
		}
		return found.Files[0], nil
	})
}

// ListFiles returns a page of the files that q selects. The error wraps catalogue.ErrCursor if q.After is another list'r.
func (r *Reader) ListFiles(ctx context.Context, q *catalogue.FileQuery) (catalogue.Files, error) {
	return read(ctx, r, "list files", func(ctx context.Context, r *reading) (catalogue.Files, error) { return r.listFiles(ctx, q) })
}

func (r *reading) listFiles(ctx context.Context, q *catalogue.FileQuery) (page catalogue.Files, err error) {
	if impossible(q.Conditions()) {
		return page, nil
	}
	counting := *q
	var beyond bool
	counting.Skip, counting.Limit, beyond = counted(q.Skip, q.Limit)
	l, list := r.filesOf(q)
	found, read, err := list(ctx, &counting)
	if err != nil {
		return page, err
	}
	if beyond {
		found, read.passed = nil, read.passed+len(found)
	}
	page, err = r.withUploads(ctx, found)
	page.Next, page.Skipped = l.cursor(read.next), read.passed
	return page, err
}

// filesOf returns q's list, and the function that reads it.
func (r *reading) filesOf(q *catalogue.FileQuery) (list, func(context.Context, *catalogue.FileQuery) ([]listed, stretch, error)) {
	if len(q.Keys)+len(q.Prefixes) == 0 {
		return listFiles, r.filesByUpload
	}
	inside, beginnings := r.parts(q)
	if len(inside) == 0 {
		return listPrefix, func(ctx context.Context, q *catalogue.FileQuery) ([]listed, stretch, error) {
			return r.filesByPrefix(ctx, q, beginnings)
		}
	}
	return listKeys, func(ctx context.Context, q *catalogue.FileQuery) ([]listed, stretch, error) {
		return r.filesByKey(ctx, q, inside, beginnings)
	}
}

// withUploads looks up the uploads of files. It drops files of deleted uploads.
func (r *reading) withUploads(ctx context.Context, files []listed) (page catalogue.Files, err error) {
	ids := make([]int64, len(files))
	for i := range files {
		ids[i] = files[i].uploadID
	}
	slices.Sort(ids)
	uploads, err := r.uploadsByID(ctx, slices.Compact(ids))
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
