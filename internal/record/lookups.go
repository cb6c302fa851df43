package record

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tecken-upload/internal/download"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

const (
	// maxKeys bounds the keys that one lookup returns.
	maxKeys = 4
	// maxRows bounds what is read for that on each way: the same file is recorded with each upload of it.
	maxRows = 64
)

// Spellings returns the keys that q may mean, at most 4 and each once: of regular uploads, then of try uploads where q asks for
// them; among these, spellings of the key in another case, then the .sym of the code id. Those uploaded last come first.
func (s *Store) Spellings(ctx context.Context, q download.SpellingQuery) (keys []symbol.Key, err error) {
	var ways []way
	for _, try := range kinds(q.Try) {
		ways = append(ways, bySpelling(q.Key).of(try))
		if q.CodeID {
			ways = append(ways, byCode(q.Key.DebugFile(), q.Key.DebugID()).of(try))
		}
	}
	err = s.query(ctx, "look up a spelling", func(ctx context.Context, r *reading) error {
		found, err := r.follow(ctx, ways...)
		keys = keysOf(found)
		return err
	})
	return keys, err
}

// kinds are those of uploads that are asked for: regular ones, and try uploads where they are too.
func kinds(try bool) []bool {
	if try {
		return []bool{false, true}
	}
	return []bool{false}
}

// keysOf returns the keys of files, each once, at most maxKeys.
func keysOf(found []recorded) (keys []symbol.Key) {
	for i := range found {
		if key := found[i].Key; len(keys) < maxKeys && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Module returns the module of a debug file and id, or of a code file and id, the file in any case: the one that was uploaded last
// by a regular upload or, without one, by a try upload. Without either it fails with upload.ErrNotFound.
func (s *Store) Module(ctx context.Context, file, id string) (m download.Module, err error) {
	err = s.query(ctx, "look up a module", func(ctx context.Context, r *reading) error {
		found, err := r.follow(ctx,
			byDebugID(id).of(false), byCode(file, id).of(false), byDebugID(id).of(true), byCode(file, id).of(true))
		if err != nil {
			return err
		}
		isOfFile := func(r recorded) bool { // a debug id alone leads to any file's
			return r.way%2 != 0 || symbol.Fold(r.Key.DebugFile()) == symbol.Fold(file)
		}
		i := slices.IndexFunc(found, isOfFile)
		if i < 0 {
			return upload.ErrNotFound
		}
		m = found[i].Module
		m.Try = found[i].way > 1
		return nil
	})
	return m, err
}

// Builds returns the keys of the .sym whose code ids are among those from first to last, at most 4 and each once, those
// uploaded last first.
func (s *Store) Builds(ctx context.Context, first, last string, try bool) (keys []symbol.Key, err error) {
	err = s.query(ctx, "look up a build", func(ctx context.Context, r *reading) error {
		found, err := r.follow(ctx, byBuild(first, last).of(try))
		keys = keysOf(found)
		return err
	})
	return keys, err
}

// A way leads through an index to files in storage, those uploaded last first.
type way struct {
	clauses
	order string
}

// bySpelling leads to the files of a key in any case.
func bySpelling(key symbol.Key) *way {
	return within("folded_key", key.Fold(), key.Fold(), "files.id")
}

// byCode leads to the .sym of a code id and a code file in any case. Many headers name no code file: outside of Windows it has the
// debug file's name. A name that is not folded yet is compared as it is.
func byCode(file, id string) *way {
	w := byBuild(id, id)
	w.add("(folded_code_file = ? OR folded_code_file IS NULL AND COALESCE(code_file, debug_file) = ?)", symbol.Fold(file), file)
	return w
}

// byBuild leads to the .sym of the code ids from first to last.
func byBuild(first, last string) *way { return within("code_id", first, last, "files.id") }

// byDebugID leads to the .sym of a debug id, whatever the debug file.
func byDebugID(id string) *way {
	w := within("debug_id", id, id, "upload_id")
	w.add("module_debug_id IS NOT NULL")
	return w
}

// within begins a way through an index of two columns. One value is a range as well, and is ordered by: an equation lets PostgreSQL
// leave it out of the order, and go through another index for rows that it believes to be rare.
func within(column, first, last, second string) *way {
	w := &way{order: column + " DESC, " + second + " DESC"}
	w.add(column+" >= ?", first)
	w.add(column+" <= ?", last)
	return w
}

// of narrows a way down to one kind of upload. An upload that failed may have published some of its files, too.
func (w *way) of(try bool) way {
	w.add("debug_file IS NOT NULL AND state IN ('uploaded', 'skipped') AND (SELECT try FROM uploads WHERE uploads.id = upload_id) = ?", try)
	return *w
}

// A recorded is what is known of a file in storage, and which way led to it.
type recorded struct {
	download.Module
	way int
}

// follow reads in one statement what some ways lead to, way by way.
func (r *reading) follow(ctx context.Context, ways ...way) (found []recorded, err error) {
	var parts []string
	var args []any
	for i, w := range ways {
		parts = append(parts, fmt.Sprintf(`SELECT * FROM (SELECT %d AS way, debug_file, debug_id, file,
			COALESCE(module_debug_file, ''), COALESCE(module_debug_id, ''), COALESCE(code_file, ''), COALESCE(code_id, ''), COALESCE(generator, '')
			FROM files%s ORDER BY %s LIMIT %d) AS way%d`, i, w.sql(), w.order, maxRows, i))
		args = append(args, w.args...)
	}
	rows, err := r.rows(ctx, strings.Join(parts, " UNION ALL "), args)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		r, err := scanRecorded(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	// Databases return a union part by part, and promise nothing.
	slices.SortStableFunc(found, func(a, b recorded) int { return a.way - b.way })
	return found, rows.Err()
}

func scanRecorded(rows *sql.Rows) (r recorded, err error) {
	var debugFile, debugID, file string
	err = rows.Scan(&r.way, &debugFile, &debugID, &file, &r.DebugFile, &r.DebugID, &r.CodeFile, &r.CodeID, &r.Generator)
	if err == nil {
		r.Key, err = symbol.NewKey(debugFile, debugID, file)
	}
	return r, err
}
