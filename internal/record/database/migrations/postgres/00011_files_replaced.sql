-- Whether a file was stored in the place of another one of its key.

-- +goose Up
SET LOCAL lock_timeout = '2s'; -- whoever comes while this waits for a reader waits as well
ALTER TABLE files ADD COLUMN replaced BOOLEAN NOT NULL DEFAULT FALSE;
