-- Whether a file was stored in the place of another one of its key.

-- +goose Up
ALTER TABLE files ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0;
