package record

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"fmt"

	"tecken-upload/internal/upload"
)

// insertFilesQueryPostgres inserts any number of files, each column as an array: PostgreSQL parses few parameters. The statement needs no
// name, which a pooler would lose.
const insertFilesQueryPostgres = `INSERT INTO files (` + fileColumns + `) SELECT * FROM unnest(
	$1::bigint[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bytea[],
	$11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::boolean[])`

// arrayFiles bounds the files of one statement.
const arrayFiles = 1000

// insertFileArrays writes u's files.
func insertFileArrays(ctx context.Context, tx *sql.Tx, u *upload.Upload) error {
	for first := 0; first < len(u.Files); first += arrayFiles {
		columns := make([][]*string, fileColumnCount)
		for i := first; i < min(first+arrayFiles, len(u.Files)); i++ {
			for c, v := range appendFileValues(nil, u.ID, i, &u.Files[i]) {
				columns[c] = append(columns[c], literal(v))
			}
		}
		args := make([]any, fileColumnCount)
		for c := range columns {
			args[c] = columns[c]
		}
		if _, err := tx.ExecContext(ctx, insertFilesQueryPostgres, args...); err != nil {
			return fmt.Errorf("files from %d: %w", first, err)
		}
	}
	return nil
}

// literal returns a value as PostgreSQL writes it; nil is NULL.
func literal(value any) *string {
	var text string
	switch v := value.(type) {
	case nil:
		return nil
	case driver.Valuer:
		stored, _ := v.Value()
		return literal(stored)
	case []byte:
		text = `\x` + hex.EncodeToString(v)
	default:
		text = fmt.Sprint(v)
	}
	return &text
}
