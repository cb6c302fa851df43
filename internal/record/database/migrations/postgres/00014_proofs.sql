-- One row, which is written to find out whether the database can be written to.

-- +goose Up
SET LOCAL lock_timeout = '2s';
CREATE TABLE proofs (
	id         INTEGER PRIMARY KEY CHECK (id = 1),
	written_at BIGINT NOT NULL
);
