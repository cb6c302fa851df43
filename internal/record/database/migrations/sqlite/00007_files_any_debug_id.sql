-- The files of a debug id, of whatever debug file, newest last: a debugger knows a build id alone.

-- +goose Up
CREATE INDEX files_any_debug_id ON files (debug_id, upload_id) WHERE debug_id IS NOT NULL;
