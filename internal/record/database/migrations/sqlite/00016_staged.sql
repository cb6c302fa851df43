-- What storage keeps for uploads where no reader sees it, until they end. A sweep of storage discards what is left of a process that died.

-- +goose Up
CREATE TABLE staged (
	upload_id  INTEGER NOT NULL, -- whose record may expire first
	id         TEXT    NOT NULL, -- storage's
	created_at INTEGER NOT NULL,
	PRIMARY KEY (upload_id, id)
) STRICT;
