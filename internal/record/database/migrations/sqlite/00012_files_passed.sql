-- The members of an upload that were passed over: a list of uploads names them.

-- +goose Up
CREATE INDEX files_passed ON files (upload_id, position) WHERE state IN ('skipped', 'ignored');
