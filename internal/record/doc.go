// Package record keeps users, tokens, uploads and their files in SQLite or PostgreSQL.
//
// One implementation in SQL serves both; they differ in how they are opened, how they are locked while the
// schema is migrated, and in the types of migrations/. Both know $1 parameters and RETURNING.
//
// What it guarantees:
//
//   - An upload's end and all its files are written in one transaction, or not at all; ending it again
//     changes nothing. An upload whose process died has no end.
//   - What was acknowledged survives a crash: SQLite runs in WAL mode with synchronous=FULL. On PostgreSQL this
//     needs fsync and synchronous_commit as they are by default.
//   - No connection beyond Options.MaxConns (with SQLite two at least: one writes, the others read). Work waits for a connection; connecting to a server that refuses
//     is tried again with a jittered back-off shared by all that wait, so that an outage makes no storm. While PostgreSQL's schema is
//     migrated, or keys are indexed, one of them holds the lock; beside a pool of one or two it is one more.
//   - A PostgreSQL connection that breaks, or leads to a server that is read-only or shuts down, is closed with the rest of the pool, and
//     what was not committed is done again for 2 seconds: after a failover the same address leads elsewhere.
//   - A PostgreSQL session keeps nothing from one transaction to the next, so that a pooler may stand in between.
//   - Of a token only its SHA-256 is stored.
//   - Ids start at 1, those of uploads stay below 2^32, and none is used twice.
//
// The schema (migrations/) is migrated under a lock, by whichever instance comes first. Migrations add tables, columns and
// indexes, and take away only indexes that others serve in the place of: a program that finds a schema newer than its
// own works with it, so that a fleet can be upgraded one by one. Those that are transactions wait for a lock for 2
// seconds at most, since everybody waits behind them; those that build or drop indexes CONCURRENTLY are none, and hold
// nobody up. Until [Store.Migrate] succeeded, everything else returns upload.ErrUnavailable at once. What a new column is to say of
// older rows is none of a migration's: [Store.RunFolding] adds it while the Store works.
//
// Text is stored as valid UTF-8 without NUL, of at most 4 KiB: what offends is replaced or cut, never refused,
// since a record with a blemish is better than none. Times are stored to the microsecond, in UTC.
//
// What it does not promise: a SQLite file is for the processes of one machine (a server and its commands), not
// for a network file system. An upload that was begun when the answer of the database was lost may be recorded
// twice, once for each attempt.
package record
