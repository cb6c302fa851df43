package record

import (
	"context"
	"database/sql"
	"errors"

	"tecken-upload/internal/download"
	"tecken-upload/internal/symbol"
)

// Bounds of one look for modules. The same module is recorded with each upload of it: those uploaded last stand for
// the others.
const (
	maxModules = 4
	maxFiles   = 32
)

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
	moduleFiles   = `SELECT file FROM files WHERE ` + `debug_file IS NOT NULL AND ` + published + withDebugID + lastDebugIDs
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

// ModuleFiles returns the names of the files that were uploaded for a module, those uploaded last first, at most 32.
func (s *Store) ModuleFiles(ctx context.Context, debugFile, debugID string, try bool) (names []string, err error) {
	err = s.query(ctx, "look up a module's files", func(ctx context.Context) error {
		names, err = s.names(ctx, moduleFiles, try, debugFile, debugID)
		return err
	})
	return names, err
}

func (s *Store) names(ctx context.Context, query string, args ...any) (names []string, err error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	seen := make(map[string]bool)
	for rows.Next() && len(names) < maxFiles {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names, rows.Err()
}
