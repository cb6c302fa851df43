-- The members of an upload that were passed over: a list of uploads names them.
-- Built while uploads go on. What an attempt that was cut off has left is not valid, and goes first.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS files_passed;
CREATE INDEX CONCURRENTLY files_passed ON files (upload_id, position) WHERE state IN ('skipped', 'ignored');
