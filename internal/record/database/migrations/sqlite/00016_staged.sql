-- What uploads in flight have staged: the ids under which storage discards it. An upload forgets its own at its end; what is left of a dead
-- one is swept.

-- +goose Up
CREATE TABLE staged (
	id         TEXT PRIMARY KEY,  -- storage's
	upload_id  INTEGER NOT NULL,  -- whose record may be gone
	created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
