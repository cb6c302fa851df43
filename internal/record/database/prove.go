package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// proofTimeout bounds a proof, since a heartbeat waits for it.
	proofTimeout = 2 * time.Second
	// proofSize is the size of a proof beside a SQLite file, in bytes: more than a file system keeps without a block.
	proofSize = 64 << 10
)

// Prove writes to the database. It returns nil if that is durable, else an error wrapping upload.ErrUnavailable: a read-only database also
// answers. For SQLite it also takes new space on the file's disk for a moment, since a row may fit into existing pages.
func (d *DB) Prove(ctx context.Context) error {
	const doing = "prove that the database can be written to"
	if d.grow != nil {
		if err := d.grow(); err != nil {
			return classify(ctx, doing, err)
		}
	}
	return d.Change(ctx, proofTimeout, doing, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO proofs (id, written_at) VALUES (1, $1)
			ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at`, time.Now().UnixMicro())
		return err
	})
}

// OnDisk reports whether the records are a file of this machine.
func (d *DB) OnDisk() bool { return !d.Postgres }

// grow takes space on the file's disk, and gives it back.
func (s *sqliteFile) grow() error {
	dir := filepath.Dir(s.path)
	file, err := os.CreateTemp(dir, ".tecken-proof-*")
	if err != nil {
		return fmt.Errorf("write to %s: %w", dir, err)
	}
	err = os.Remove(file.Name()) // first, so that nothing is left behind in any case
	if err == nil {
		_, err = file.Write(make([]byte, proofSize))
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write to %s: %w", dir, err)
	}
	return nil
}
