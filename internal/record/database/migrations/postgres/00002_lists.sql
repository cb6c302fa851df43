-- What the lists of the records API, its statistics and the expiry of records need. uploads is a small table: its
-- indexes are built in a second or so, during which uploads wait. Those of files are built one by one in migrations of
-- their own, and what these indexes take the place of is dropped in one, too: that has to wait for every reader.

-- +goose Up
SET LOCAL lock_timeout = '2s';

-- What was uploaded by day (of its beginning, in UTC, counted from 1970-01-01) and user, counted as uploads end.
CREATE TABLE upload_days (
	day          BIGINT NOT NULL,
	user_id      BIGINT NOT NULL,
	upload_count BIGINT NOT NULL,
	upload_size  BIGINT NOT NULL,
	file_count   BIGINT NOT NULL, -- stored; skipped ones are not counted
	file_size    BIGINT NOT NULL, -- as stored
	PRIMARY KEY (day, user_id)
);

INSERT INTO upload_days (day, user_id, upload_count, upload_size, file_count, file_size)
SELECT created_at / 86400000000, user_id, count(*), sum(size), sum(uploaded_count),
	sum((SELECT COALESCE(sum(stored_size), 0) FROM files WHERE upload_id = uploads.id))
FROM uploads
WHERE ended_at IS NOT NULL AND created_at >= (extract(epoch FROM now())::BIGINT - 31 * 86400) * 1000000
GROUP BY 1, 2;

-- By when they began; for everybody and for one user.
CREATE INDEX uploads_created_id ON uploads (created_at, id);
CREATE INDEX uploads_user_created ON uploads (user_id, created_at, id);

-- By size.
CREATE INDEX uploads_size ON uploads (size, id);
CREATE INDEX uploads_user_size ON uploads (user_id, size, id);

-- Try uploads old enough to go, which lie among regular ones that stay.
CREATE INDEX uploads_try ON uploads (created_at) WHERE try;
