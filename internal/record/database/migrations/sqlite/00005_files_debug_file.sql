-- Who uploaded a debug file, newest last.

-- +goose Up
CREATE INDEX files_debug_file ON files (debug_file) WHERE debug_file IS NOT NULL;
