-- The files of a debug id, of whatever debug file, newest last: a debugger knows a build id alone. In another order than
-- files_debug_id, so that PostgreSQL does not take it for that.
-- Built while uploads go on. What an attempt that was cut off has left is not valid, and goes first.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS files_any_debug_id;
CREATE INDEX CONCURRENTLY files_any_debug_id ON files (debug_id, upload_id) WHERE debug_id IS NOT NULL;
