-- The files of a key in any case, newest last; and those that are still to be folded.

-- +goose Up
CREATE INDEX files_folded ON files (folded_key) WHERE debug_file IS NOT NULL;
