-- How far an upload in flight is, and when its process was last known to live, by the database's clock. Of an upload that has ended: how
-- far it came.

-- +goose Up
SET LOCAL lock_timeout = '2s'; -- readers that come while this waits for a lock wait as well
ALTER TABLE uploads ADD COLUMN phase TEXT, ADD COLUMN progress DOUBLE PRECISION, ADD COLUMN seen_at BIGINT;
