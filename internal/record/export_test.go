package record

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// DB is the connection, or pool, that s writes with.
func (s *Store) DB() *sql.DB { return s.write }

// Trace calls f with each statement that reads for a list.
func (s *Store) Trace(f func(query string, args []any)) { s.trace = f }

// SetScanLimit has lists look at fewer rows for a page.
func (s *Store) SetScanLimit(n int) { s.scan = n }

// SetServerTime has the database's clock stand at a time.
func (s *Store) SetServerTime(at time.Time) {
	s.clock = fmt.Sprintf(`SELECT CAST(%d AS BIGINT)`, at.UnixMicro())
}

// ByIndexAlone are the settings that PostgreSQL reads with.
const ByIndexAlone = byIndexAlone

// ByTrigrams are the settings that the index of the insides of keys is asked with.
const ByTrigrams = byTrigrams

// IndexKeys is one attempt of RunIndexing.
func (s *Store) IndexKeys(ctx context.Context) error { return s.ensureKeysIndexed(ctx) }

// IndexingLock is the advisory lock under which the index of the insides of keys is made.
const IndexingLock = indexingLock

// SetFinishPatience has Finish keep trying for as long.
func (s *Store) SetFinishPatience(d time.Duration) { s.patience = d }

// LockFile is lockFile.
var LockFile = lockFile
