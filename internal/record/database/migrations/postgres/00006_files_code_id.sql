-- The debug file of a code id, newest last. It takes the place of files_code: many headers name no code file.
-- Built while uploads go on. What an attempt that was cut off has left is not valid, and goes first.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS files_code_id;
CREATE INDEX CONCURRENTLY files_code_id ON files (code_id, id) WHERE code_id IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS files_code;
