-- What the lists of the records API, its statistics and the expiry of records need.

-- +goose Up

-- What was uploaded by day (of its beginning, in UTC, counted from 1970-01-01) and user, counted as uploads end.
CREATE TABLE upload_days (
	day          INTEGER NOT NULL,
	user_id      INTEGER NOT NULL,
	upload_count INTEGER NOT NULL,
	upload_size  INTEGER NOT NULL,
	file_count   INTEGER NOT NULL, -- stored; skipped ones are not counted
	file_size    INTEGER NOT NULL, -- as stored
	PRIMARY KEY (day, user_id)
) STRICT;

INSERT INTO upload_days (day, user_id, upload_count, upload_size, file_count, file_size)
SELECT created_at / 86400000000, user_id, count(*), sum(size), sum(uploaded_count),
	sum((SELECT COALESCE(sum(stored_size), 0) FROM files WHERE upload_id = uploads.id))
FROM uploads
WHERE ended_at IS NOT NULL AND created_at >= (unixepoch() - 31 * 86400) * 1000000
GROUP BY 1, 2;

-- Every index ends with the row's id, unsaid. Where it is said, SQLite does not use it for (a, id) < (?, ?).

-- By when they began; for everybody and for one user.
CREATE INDEX uploads_created_id ON uploads (created_at);
CREATE INDEX uploads_user_created ON uploads (user_id, created_at);

-- By size.
CREATE INDEX uploads_size ON uploads (size);
CREATE INDEX uploads_user_size ON uploads (user_id, size);

-- Try uploads old enough to go, which lie among regular ones that stay.
CREATE INDEX uploads_try ON uploads (created_at) WHERE try;
