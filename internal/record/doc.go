// Package record keeps users, tokens, uploads and their files in SQLite or PostgreSQL.
//
// One implementation in SQL serves both. They differ in how they are opened, how they are locked during a migration, and in the types of
// migrations/. Both know $1 parameters and RETURNING.
//
// Guaranteed:
//
//   - An upload's end and all its files are written in one transaction, or not at all. Ending it again changes
//     nothing. An upload has no end if its process died.
//   - An acknowledged write survives a crash: SQLite runs in WAL mode with synchronous=FULL. PostgreSQL needs its
//     defaults of fsync and synchronous_commit.
//   - There are at most Options.MaxConns connections (SQLite: at least two, one that writes and readers), and work
//     waits for one. Connecting to a server that refuses is retried with a jittered back-off shared by all waiters,
//     so an outage makes no storm. On PostgreSQL a migration, or the indexing of keys, holds one of them for its
//     lock; beside a pool of one or two it is an extra one.
//   - When a PostgreSQL connection breaks, or its server is read-only or shuts down, the whole pool is closed, and
//     uncommitted work is repeated for 2 seconds: after a failover the same address leads elsewhere.
//   - A PostgreSQL session keeps nothing between transactions, so a pooler may stand in between.
//   - Of a token only its SHA-256 is stored.
//   - Ids start at 1, those of uploads stay below 2^32, and none is used twice.
//
// The first instance migrates the schema (migrations/) under a lock. Migrations add tables, columns and indexes, and remove only indexes
// that others replace: a program works with a newer schema, so a fleet can be upgraded one by one. Migrations in transactions wait at most
// 2 seconds for a lock, since all uploads wait behind them. Those that build or drop indexes CONCURRENTLY have no transaction and block
// nothing. Until [Store.Migrate] has succeeded, all else returns upload.ErrUnavailable at once. Values of a new column for older rows are
// not a migration's: [Store.RunFolding] adds them while the Store works.
//
// Text is stored as valid UTF-8 without NUL, of at most 4 KiB. Other text is replaced or cut, never refused, since a flawed record is
// better than none. Times are stored to the microsecond, in UTC.
//
// Not promised: a SQLite file is for the processes of one machine (a server and its commands), not for a network file system. If the
// database's answer to Begin is lost, the upload may be recorded twice, once for each attempt.
package record
