package record

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"tecken-upload/internal/record/database"
)

// forgetChunk is how many ids a statement of ForgetStaged has at most.
const forgetChunk = 64

// NoteStaged records that an upload stages something in storage, under storage's id. It is durable once it returns nil. An id that is recorded
// already stays as it is.
func (s *Store) NoteStaged(ctx context.Context, uploadID int64, id string) error {
	return s.Change(ctx, writeTimeout, fmt.Sprintf("record what upload %d stages", uploadID), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO staged (id, upload_id, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`,
			database.Text(id), uploadID, database.Time(s.now()))
		return err
	})
}

// ForgetStaged removes the records of ids under which nothing is staged any more. Unknown ids are skipped.
func (s *Store) ForgetStaged(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return s.Change(ctx, writeTimeout, "forget what was staged", func(ctx context.Context, tx *sql.Tx) error {
		for rest := ids; len(rest) > 0; {
			n := min(len(rest), forgetChunk)
			args := make([]any, n)
			for i, id := range rest[:n] {
				args[i] = database.Text(id)
			}
			query := database.Numbered(`DELETE FROM staged WHERE id IN (?` + strings.Repeat(`, ?`, n-1) + `)`)
			if _, err := tx.ExecContext(ctx, query, args...); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	})
}
