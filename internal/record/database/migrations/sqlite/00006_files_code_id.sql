-- The debug file of a code id, newest last. It takes the place of files_code: many headers name no code file.

-- +goose Up
CREATE INDEX files_code_id ON files (code_id) WHERE code_id IS NOT NULL;
DROP INDEX files_code;
