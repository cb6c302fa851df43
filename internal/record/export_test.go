package record

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// DB is the connection, or pool, that s writes with.
func (s *Store) DB() *sql.DB { return s.write }

// Trace calls f with each list's statement.
func (s *Store) Trace(f func(query string, args []any)) { s.trace = f }

// SetScanLimit makes lists read fewer rows for a page.
func (s *Store) SetScanLimit(n int) { s.scan = n }

// SetServerTime sets the database's clock.
func (s *Store) SetServerTime(at time.Time) {
	s.clock = fmt.Sprintf(`SELECT CAST(%d AS BIGINT)`, at.UnixMicro())
}

// ByIndexAlone are PostgreSQL's settings for reading.
const ByIndexAlone = byIndexAlone

// ByTrigrams are the settings for the trigram index.
const ByTrigrams = byTrigrams

// IndexKeys is one attempt of RunIndexing.
func (s *Store) IndexKeys(ctx context.Context) error { return s.ensureKeysIndexed(ctx) }

// IndexingLock is the advisory lock for making the trigram index.
const IndexingLock = indexingLock

// SetFinishPatience sets how long Finish retries.
func (s *Store) SetFinishPatience(d time.Duration) { s.patience = d }

// LockFile is lockFile.
var LockFile = lockFile
