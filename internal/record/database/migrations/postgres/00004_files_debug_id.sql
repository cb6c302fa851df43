-- Who uploaded a debug file and id, and what is known of them, newest last. It takes the place of files_key.
-- Built while uploads go on. What an attempt that was cut off has left is not valid, and goes first.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS files_debug_id;
CREATE INDEX CONCURRENTLY files_debug_id ON files (debug_file, debug_id, id) WHERE debug_file IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS files_key;
