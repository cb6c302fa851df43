-- Times are microseconds since 1970 in UTC: to_timestamp(created_at / 1e6) shows one. Optional text is NULL,
-- never empty. Text that is looked up or paged by is compared bytewise, whatever the database's collation.

-- +goose Up
CREATE TABLE users (
	id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	email      TEXT   NOT NULL UNIQUE,
	created_at BIGINT NOT NULL
);

CREATE TABLE tokens (
	id          BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	user_id     BIGINT  NOT NULL REFERENCES users (id),
	hash        BYTEA   NOT NULL UNIQUE, -- SHA-256
	permissions TEXT    NOT NULL,        -- separated by spaces
	weight      INTEGER NOT NULL,
	created_at  BIGINT  NOT NULL,
	expires_at  BIGINT,
	revoked_at  BIGINT
);

CREATE TABLE uploads (
	id             BIGINT  GENERATED ALWAYS AS IDENTITY (MAXVALUE 4294967295) PRIMARY KEY,
	user_id        BIGINT  NOT NULL REFERENCES users (id),
	token_id       BIGINT  NOT NULL REFERENCES tokens (id),
	token_label    TEXT    NOT NULL,
	filename       TEXT    NOT NULL,
	bucket         TEXT    NOT NULL,
	try            BOOLEAN NOT NULL,
	format         TEXT    NOT NULL,
	size           BIGINT  NOT NULL,
	created_at     BIGINT  NOT NULL,
	ended_at       BIGINT, -- NULL while running, and for ever when the process died
	outcome        TEXT,
	error          TEXT,
	uploaded_count INTEGER NOT NULL DEFAULT 0, -- files by state, so that a list of uploads need not count them
	skipped_count  INTEGER NOT NULL DEFAULT 0,
	ignored_count  INTEGER NOT NULL DEFAULT 0,
	pending_count  INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE files (
	id                BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	upload_id         BIGINT  NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
	position          INTEGER NOT NULL, -- in the archive, from 0
	name              TEXT    NOT NULL, -- as sent
	debug_file        TEXT COLLATE "C", -- the key's three components, NULL for an ignored member
	debug_id          TEXT COLLATE "C",
	file              TEXT COLLATE "C",
	state             TEXT    NOT NULL,
	size              BIGINT  NOT NULL,
	stored_size       BIGINT  NOT NULL,
	md5               BYTEA,
	module_os         TEXT,             -- what the header of a .sym says
	module_arch       TEXT,
	module_debug_file TEXT COLLATE "C",
	module_debug_id   TEXT COLLATE "C",
	code_file         TEXT COLLATE "C",
	code_id           TEXT COLLATE "C",
	generator         TEXT
);

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
