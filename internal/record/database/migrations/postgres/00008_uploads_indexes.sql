-- What uploads_created_id and uploads_user_created have taken the place of.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS uploads_created;
DROP INDEX CONCURRENTLY IF EXISTS uploads_user;
