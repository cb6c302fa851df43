-- Who uploaded a debug file, newest last.
-- Built while uploads go on. What an attempt that was cut off has left is not valid, and goes first.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS files_debug_file;
CREATE INDEX CONCURRENTLY files_debug_file ON files (debug_file, id) WHERE debug_file IS NOT NULL;
