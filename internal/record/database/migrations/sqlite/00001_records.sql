-- Times are microseconds since 1970 in UTC. Optional text is NULL, never empty.

-- +goose Up
CREATE TABLE users (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	email      TEXT    NOT NULL UNIQUE,
	created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	user_id     INTEGER NOT NULL REFERENCES users (id),
	hash        BLOB    NOT NULL UNIQUE, -- SHA-256
	permissions TEXT    NOT NULL,        -- separated by spaces
	weight      INTEGER NOT NULL,
	created_at  INTEGER NOT NULL,
	expires_at  INTEGER,
	revoked_at  INTEGER
) STRICT;

CREATE TABLE uploads (
	id             INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 4294967295),
	user_id        INTEGER NOT NULL REFERENCES users (id),
	token_id       INTEGER NOT NULL REFERENCES tokens (id),
	token_label    TEXT    NOT NULL,
	filename       TEXT    NOT NULL,
	bucket         TEXT    NOT NULL,
	try            INTEGER NOT NULL,
	format         TEXT    NOT NULL,
	size           INTEGER NOT NULL,
	created_at     INTEGER NOT NULL,
	ended_at       INTEGER, -- NULL while running, and for ever when the process died
	outcome        TEXT,
	error          TEXT,
	uploaded_count INTEGER NOT NULL DEFAULT 0, -- files by state, so that a list of uploads need not count them
	skipped_count  INTEGER NOT NULL DEFAULT 0,
	ignored_count  INTEGER NOT NULL DEFAULT 0,
	pending_count  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE files (
	id                INTEGER PRIMARY KEY AUTOINCREMENT,
	upload_id         INTEGER NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
	position          INTEGER NOT NULL, -- in the archive, from 0
	name              TEXT    NOT NULL, -- as sent
	debug_file        TEXT,             -- the key's three components, NULL for an ignored member
	debug_id          TEXT,
	file              TEXT,
	state             TEXT    NOT NULL,
	size              INTEGER NOT NULL,
	stored_size       INTEGER NOT NULL,
	md5               BLOB,
	module_os         TEXT,             -- what the header of a .sym says
	module_arch       TEXT,
	module_debug_file TEXT,
	module_debug_id   TEXT,
	code_file         TEXT,
	code_id           TEXT,
	generator         TEXT
) STRICT;

-- A user's own uploads, newest first, paged by id.
CREATE INDEX uploads_user ON uploads (user_id, id);

-- Uploads of a span of time, and those old enough to go.
CREATE INDEX uploads_created ON uploads (created_at);

-- An upload's files in their order, and those that go with it.
CREATE UNIQUE INDEX files_upload ON files (upload_id, position);

-- Who uploaded a key, and what is known of a debug file and id (a prefix of it).
CREATE INDEX files_key ON files (debug_file, debug_id, file) WHERE debug_file IS NOT NULL;

-- The debug file of a code id. The id comes first: it is the selective one, and many headers name no code file.
CREATE INDEX files_code ON files (code_id, code_file) WHERE code_id IS NOT NULL;
