package record

import (
	"context"
	"errors"

	"tecken-upload/internal/symbol"
)

// A file is recorded with each upload of it; others may have been uploaded long before. Ids are given as a range, as in a way.
const (
	moduleFiles      = lastFiles + ` AND debug_file = $2 AND debug_id >= $3 AND debug_id <= $3 ORDER BY debug_id DESC, files.id DESC` + eachFileOnce
	filesOfAnyModule = lastFiles + ` AND debug_id >= $2 AND debug_id <= $2 ORDER BY debug_id DESC, upload_id DESC` + eachFileOnce
	lastFiles        = `SELECT debug_file, debug_id, file FROM (SELECT debug_file, debug_id, file, files.id AS id FROM files
		WHERE debug_file IS NOT NULL AND state IN ('uploaded', 'skipped') AND (SELECT try FROM uploads WHERE uploads.id = upload_id) = $1`
	eachFileOnce = ` LIMIT 10000) AS latest GROUP BY debug_file, debug_id, file ORDER BY MAX(id) DESC LIMIT 32`
)

// ModuleFiles returns the keys of the files uploaded for a module, or for all modules of that debug id if debugFile is empty: the last
// uploaded first, at most 32, each once.
func (s *Store) ModuleFiles(ctx context.Context, debugFile, debugID string, try bool) (keys []symbol.Key, err error) {
	query, args := moduleFiles, []any{try, debugFile, debugID}
	if debugFile == "" {
		query, args = filesOfAnyModule, []any{try, debugID}
	}
	err = s.query(ctx, "look up a module's files", func(ctx context.Context, r *reading) error {
		keys, err = r.keys(ctx, query, args)
		return err
	})
	return keys, err
}

func (r *reading) keys(ctx context.Context, query string, args []any) (keys []symbol.Key, err error) {
	rows, err := r.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var debugFile, debugID, file string
		if err := rows.Scan(&debugFile, &debugID, &file); err != nil {
			return nil, err
		}
		key, err := symbol.NewKey(debugFile, debugID, file)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}
