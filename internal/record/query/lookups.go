package query

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"tecken-upload/internal/catalogue"
	"tecken-upload/internal/symbol"
	"tecken-upload/internal/upload"
)

const (
	// maxKeys bounds the keys of one lookup.
	maxKeys = 4
	// maxRows bounds the rows read on each way: a file is recorded with each upload of it.
	maxRows = 64
)

// Spellings returns the keys that q may mean, at most 4 and each once: those of regular uploads, then, if q includes them, of try uploads;
// in each, spellings of the key in another case, then the .sym of the code id; in each, the last uploaded first.
func (r *Reader) Spellings(ctx context.Context, q catalogue.SpellingQuery) ([]symbol.Key, error) {
	var ways []way
	for _, try := range kinds(q.Try) {
		ways = append(ways, bySpelling(q.Key).of(try))
		if q.CodeID {
			ways = append(ways, byCode(q.Key.DebugFile(), q.Key.DebugID()).of(try))
		}
	}
	return read(ctx, r, "look up a spelling", func(ctx context.Context, r *reading) ([]symbol.Key, error) {
		return keysOf(r.follow(ctx, ways...))
	})
}

// kinds returns the kinds of uploads to search: regular ones, then try uploads if included.
func kinds(try bool) []bool {
	if try {
		return []bool{false, true}
	}
	return []bool{false}
}

// keysOf returns the keys of files, each once, at most maxKeys.
func keysOf(found []recorded, err error) (keys []symbol.Key, _ error) {
	for i := range found {
		if key := found[i].Key; len(keys) < maxKeys && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys, err
}

// Module returns the module of a debug file and id, or of a code file and id, the file in any case: the last one of a regular upload, else
// of a try upload, else upload.ErrNotFound.
func (r *Reader) Module(ctx context.Context, file, id string) (catalogue.Module, error) {
	return read(ctx, r, "look up a module", func(ctx context.Context, r *reading) (m catalogue.Module, err error) {
		found, err := r.follow(ctx,
			byDebugID(id).of(false), byCode(file, id).of(false), byDebugID(id).of(true), byCode(file, id).of(true))
		if err != nil {
			return m, err
		}
		isOfFile := func(r recorded) bool { // a debug id alone matches any file
			return r.way%2 != 0 || symbol.Fold(r.Key.DebugFile()) == symbol.Fold(file)
		}
		i := slices.IndexFunc(found, isOfFile)
		if i < 0 {
			return m, upload.ErrNotFound
		}
		m = found[i].Module
		m.Try = found[i].way > 1
		return m, nil
	})
}

// Builds returns the keys of the .sym with code ids from first to last, at most 4 and each once, the last uploaded first.
func (r *Reader) Builds(ctx context.Context, first, last string, try bool) ([]symbol.Key, error) {
	return read(ctx, r, "look up a build", func(ctx context.Context, r *reading) ([]symbol.Key, error) {
		return keysOf(r.follow(ctx, byBuild(first, last).of(try)))
	})
}

// A way finds stored files through an index, the last uploaded first.
type way struct {
	clauses
	order string
}

// bySpelling finds the files of a key in any case.
func bySpelling(key symbol.Key) *way {
	return within("folded_key", key.Fold(), key.Fold(), "files.id")
}

// byCode finds the .sym of a code id and a code file in any case. Many headers name no code file: outside of Windows it has the debug
// file's name. Unfolded names are compared exactly.
func byCode(file, id string) *way {
	w := byBuild(id, id)
	w.add("(folded_code_file = ? OR folded_code_file IS NULL AND COALESCE(code_file, debug_file) = ?)", symbol.Fold(file), file)
	return w
}

// byBuild finds the .sym of the code ids from first to last.
func byBuild(first, last string) *way { return within("code_id", first, last, "files.id") }

// byDebugID finds the .sym of a debug id, for any debug file.
func byDebugID(id string) *way {
	w := within("debug_id", id, id, "upload_id")
	w.add("module_debug_id IS NOT NULL")
	return w
}

// within makes a way through an index of two columns. Even one value is a range, and in the order: for an equation PostgreSQL may drop the
// column from the order, and use another index for rows that it believes to be rare.
func within(column, first, last, second string) *way {
	w := &way{order: column + " DESC, " + second + " DESC"}
	w.add(column+" >= ?", first)
	w.add(column+" <= ?", last)
	return w
}

// of limits a way to one kind of upload. A failed upload may have published some of its files too.
func (w *way) of(try bool) way {
	w.add("debug_file IS NOT NULL AND state IN ('uploaded', 'skipped') AND (SELECT try FROM uploads WHERE uploads.id = upload_id) = ?", try)
	return *w
}

// A recorded is a stored file, and the way that found it.
type recorded struct {
	catalogue.Module
	way int
}

// follow runs some ways in one statement, and returns their files way by way.
func (r *reading) follow(ctx context.Context, ways ...way) (found []recorded, err error) {
	var parts []string
	var args []any
	for i, w := range ways {
		parts = append(parts, fmt.Sprintf(`SELECT * FROM (SELECT %d AS way, debug_file, debug_id, file,
			COALESCE(module_debug_file, ''), COALESCE(module_debug_id, ''), COALESCE(code_file, ''), COALESCE(code_id, ''), COALESCE(generator, '')
			FROM files%s ORDER BY %s LIMIT %d) AS way%d`, i, w.sql(), w.order, maxRows, i))
		args = append(args, w.args...)
	}
	err = r.each(ctx, strings.Join(parts, " UNION ALL "), args, func(rows *sql.Rows) error {
		file, err := scanRecorded(rows)
		found = append(found, file)
		return err
	})
	// Databases return a union part by part, but do not promise it.
	slices.SortStableFunc(found, func(a, b recorded) int { return a.way - b.way })
	return found, err
}

func scanRecorded(rows *sql.Rows) (r recorded, err error) {
	var debugFile, debugID, file string
	err = rows.Scan(&r.way, &debugFile, &debugID, &file, &r.DebugFile, &r.DebugID, &r.CodeFile, &r.CodeID, &r.Generator)
	if err == nil {
		r.Key, err = symbol.NewKey(debugFile, debugID, file)
	}
	return r, err
}
