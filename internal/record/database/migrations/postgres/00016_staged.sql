-- What storage keeps for uploads where no reader sees it, until they end. A sweep of storage discards what is left of a process that died.

-- +goose Up
SET LOCAL lock_timeout = '2s';
CREATE TABLE staged (
	upload_id  BIGINT NOT NULL, -- whose record may expire first
	id         TEXT   NOT NULL, -- storage's
	created_at BIGINT NOT NULL,
	PRIMARY KEY (upload_id, id)
);
