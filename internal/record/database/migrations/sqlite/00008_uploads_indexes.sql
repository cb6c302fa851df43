-- What uploads_created_id and uploads_user_created have taken the place of.

-- +goose Up
DROP INDEX IF EXISTS uploads_created;
DROP INDEX IF EXISTS uploads_user;
