-- The files of a key in any case, newest last; and those that are still to be folded.
-- Built while uploads go on. What an attempt that was cut off has left is not valid, and goes first.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS files_folded;
CREATE INDEX CONCURRENTLY files_folded ON files (folded_key, id) WHERE debug_file IS NOT NULL;
