-- How far an upload in flight is, and when its process was last known to live, by the database's clock. Of an upload that has ended: how
-- far it came.

-- +goose Up
ALTER TABLE uploads ADD COLUMN phase TEXT;
ALTER TABLE uploads ADD COLUMN progress REAL;
ALTER TABLE uploads ADD COLUMN seen_at INTEGER;
