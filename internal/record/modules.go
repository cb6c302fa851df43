package record

import (
	"context"
	"database/sql"
	"errors"

	"tecken-upload/internal/download"
	"tecken-upload/internal/symbol"
)

// maxModules bounds one look for modules. The same module is recorded with each upload of it: those uploaded last stand
// for the others.
const maxModules = 4

// The queries. Published are the files that are in storage; an upload that failed may have published some, too. An id
// is given as a range and ordered by: an equation lets PostgreSQL leave it out of the order, and go through another index for
// rows that it believes to be rare.
const (
	modulesFrom = `SELECT debug_file, debug_id, file, COALESCE(module_debug_file, ''), COALESCE(module_debug_id, ''),
		COALESCE(code_file, ''), COALESCE(code_id, ''), COALESCE(generator, '') FROM files WHERE debug_file IS NOT NULL AND `
	published = `state IN ('uploaded', 'skipped') AND (SELECT try FROM uploads WHERE uploads.id = upload_id) = $1`

	withDebugID  = ` AND debug_file = $2 AND debug_id >= $3 AND debug_id <= $3`
	lastDebugIDs = ` ORDER BY debug_id DESC, files.id DESC LIMIT 64`
	withCodeID   = ` AND code_id >= $2 AND code_id <= $2`
	lastCodeIDs  = ` ORDER BY code_id DESC, files.id DESC LIMIT 64`

	modulesByDebugID = modulesFrom + published + withDebugID + ` AND module_debug_id IS NOT NULL` + lastDebugIDs
	modulesByCodeID  = modulesFrom + published + withCodeID + lastCodeIDs
	// Many headers name no code file: outside of Windows it has the debug file's name.
	modulesByCode = modulesFrom + published + withCodeID + ` AND (code_file = $3 OR code_file IS NULL AND debug_file = $3)` + lastCodeIDs

	// A file is recorded with each upload of it, others may have been uploaded long before.
	moduleFiles      = lastFiles + withDebugID + ` ORDER BY debug_id DESC, files.id DESC` + eachFileOnce
	filesOfAnyModule = lastFiles + ` AND debug_id >= $2 AND debug_id <= $2 ORDER BY debug_id DESC, upload_id DESC` + eachFileOnce
	lastFiles        = `SELECT debug_file, debug_id, file FROM (SELECT debug_file, debug_id, file, files.id AS id FROM files
		WHERE debug_file IS NOT NULL AND ` + published
	eachFileOnce = ` LIMIT 10000) AS latest GROUP BY debug_file, debug_id, file ORDER BY MAX(id) DESC LIMIT 32`
)

// Modules returns the modules that q asks for, those uploaded last first, at most 4; of a module in each of its keys.
func (s *Store) Modules(ctx context.Context, q download.ModuleQuery) (found []download.Module, err error) {
	query, args := modulesByDebugID, []any{q.Try, q.DebugFile, q.DebugID}
	switch {
	case q.CodeID != "" && q.CodeFile != "":
		query, args = modulesByCode, []any{q.Try, q.CodeID, q.CodeFile}
	case q.CodeID != "":
		query, args = modulesByCodeID, []any{q.Try, q.CodeID}
	}
	err = s.query(ctx, "look up a module", func(ctx context.Context) error {
		found, err = s.modules(ctx, query, args)
		return err
	})
	return found, err
}

func (s *Store) modules(ctx context.Context, query string, args []any) (found []download.Module, err error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	seen := make(map[symbol.Key]bool)
	for rows.Next() && len(found) < maxModules {
		m, err := scanModule(rows)
		if err != nil {
			return nil, err
		}
		if !seen[m.Key] {
			seen[m.Key] = true
			found = append(found, m)
		}
	}
	return found, rows.Err()
}

func scanModule(rows *sql.Rows) (m download.Module, err error) {
	var debugFile, debugID, file string
	err = rows.Scan(&debugFile, &debugID, &file, &m.DebugFile, &m.DebugID, &m.CodeFile, &m.CodeID, &m.Generator)
	if err != nil {
		return m, err
	}
	m.Key, err = symbol.NewKey(debugFile, debugID, file)
	return m, err
}

// ModuleFiles returns the keys of the files that were uploaded for a module, or for all of that debug id where debugFile is
// empty: those uploaded last first, at most 32. Each counts once, however often it was uploaded.
func (s *Store) ModuleFiles(ctx context.Context, debugFile, debugID string, try bool) (keys []symbol.Key, err error) {
	query, args := moduleFiles, []any{try, debugFile, debugID}
	if debugFile == "" {
		query, args = filesOfAnyModule, []any{try, debugID}
	}
	err = s.query(ctx, "look up a module's files", func(ctx context.Context) error {
		keys, err = s.keys(ctx, query, args)
		return err
	})
	return keys, err
}

func (s *Store) keys(ctx context.Context, query string, args []any) (keys []symbol.Key, err error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
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
