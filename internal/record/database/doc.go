// Package database is the database of the records: SQLite or PostgreSQL, opened, migrated, shared by all calls, and awaited while it is away.
// What is recorded in it, and how it is read, is for others.
//
// Both databases know $1 parameters and RETURNING, so one statement serves both. They differ in how they are opened, how they are locked
// during a migration, and in the types of migrations/.
//
// Guaranteed:
//
//   - An acknowledged write survives a crash: SQLite runs in WAL mode with synchronous=FULL. PostgreSQL needs its
//     defaults of fsync and synchronous_commit.
//   - There are at most Options.MaxConns connections (SQLite: at least two, one that writes and readers), and work
//     waits for one. Connecting to a server that refuses is retried with a jittered back-off shared by all waiters,
//     so an outage makes no storm. On PostgreSQL a migration, or the indexing of keys, holds one of them for its
//     lock; beside a pool of one or two it is an extra one.
//   - When a PostgreSQL connection breaks, or its server is read-only or shuts down, the whole pool is closed, and
//     uncommitted work is repeated for 2 seconds: after a failover the same address leads elsewhere.
//   - A PostgreSQL session keeps nothing between transactions, so a pooler may stand in between.
//   - An error wraps upload.ErrUnavailable if a later attempt may succeed, and upload.ErrNotFound if a row is missing.
//
// The first instance migrates the schema (migrations/) under a lock. Migrations add tables, columns and indexes, and remove only indexes
// that others replace: a program works with a newer schema, so a fleet can be upgraded one by one. Migrations in transactions wait at most
// 2 seconds for a lock, since all uploads wait behind them. Those that build or drop indexes CONCURRENTLY have no transaction and block
// nothing. Until [DB.Migrate] has succeeded, all else returns upload.ErrUnavailable at once.
//
// Not promised: a SQLite file is for the processes of one machine (a server and its commands), not for a network file system.
package database
