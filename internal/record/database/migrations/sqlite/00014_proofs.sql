-- One row, which is written to find out whether the database can be written to.

-- +goose Up
CREATE TABLE proofs (
	id         INTEGER PRIMARY KEY CHECK (id = 1),
	written_at INTEGER NOT NULL
) STRICT;
