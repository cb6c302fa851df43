package record

import "database/sql"

// DB is the connection, or pool, that s writes with.
func (s *Store) DB() *sql.DB { return s.write }

// LockFile is lockFile.
var LockFile = lockFile
