package query

import (
	"context"
	"database/sql"

	"tecken-upload/internal/symbol"
)

// A file is recorded with each upload of it; others may have been uploaded long before. Ids are given as a range, as in a way.
const (
	moduleFiles      = lastFiles + ` AND debug_file = ? AND debug_id >= ? AND debug_id <= ? ORDER BY debug_id DESC, files.id DESC` + eachFileOnce
	filesOfAnyModule = lastFiles + ` AND debug_id >= ? AND debug_id <= ? ORDER BY debug_id DESC, upload_id DESC` + eachFileOnce
	lastFiles        = `SELECT debug_file, debug_id, file FROM (SELECT debug_file, debug_id, file, files.id AS id FROM files
		WHERE debug_file IS NOT NULL AND state IN ('uploaded', 'skipped') AND (SELECT try FROM uploads WHERE uploads.id = upload_id) = ?`
	eachFileOnce = ` LIMIT 10000) AS latest GROUP BY debug_file, debug_id, file ORDER BY MAX(id) DESC LIMIT 32`
)

// ModuleFiles returns the keys of the files uploaded for a module, or for all modules of that debug id if debugFile is empty: the last
// uploaded first, at most 32, each once.
func (r *Reader) ModuleFiles(ctx context.Context, debugFile, debugID string, try bool) ([]symbol.Key, error) {
	query, args := moduleFiles, []any{try, debugFile, debugID, debugID}
	if debugFile == "" {
		query, args = filesOfAnyModule, []any{try, debugID, debugID}
	}
	return read(ctx, r, "look up a module's files", func(ctx context.Context, r *reading) (keys []symbol.Key, err error) {
		err = r.each(ctx, query, args, func(rows *sql.Rows) error {
			var debugFile, debugID, file string
			if err := rows.Scan(&debugFile, &debugID, &file); err != nil {
				return err
			}
			key, err := symbol.NewKey(debugFile, debugID, file)
			keys = append(keys, key)
			return err
		})
		return keys, err
	})
}
