-- Who uploaded a debug file and id, and what is known of them, newest last. It takes the place of files_key.

-- +goose Up
CREATE INDEX files_debug_id ON files (debug_file, debug_id) WHERE debug_file IS NOT NULL;
DROP INDEX files_key;
