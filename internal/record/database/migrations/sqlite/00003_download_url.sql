-- Where an upload was fetched from. Both are without user information and query, and NULL where the client sent
-- the archive; redirect_urls has one address to a line, NULL where there was none.

-- +goose Up
ALTER TABLE uploads ADD COLUMN download_url TEXT;
ALTER TABLE uploads ADD COLUMN redirect_urls TEXT;
