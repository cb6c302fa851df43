-- What uploads in flight have staged: the ids under which storage discards it. An upload forgets its own at its end; what is left of a dead
-- one is swept. Ids are paged by, so they are compared bytewise.

-- +goose Up
SET LOCAL lock_timeout = '2s';
CREATE TABLE staged (
	id         TEXT COLLATE "C" PRIMARY KEY, -- storage's
	upload_id  BIGINT NOT NULL,              -- whose record may be gone
	created_at BIGINT NOT NULL
);
