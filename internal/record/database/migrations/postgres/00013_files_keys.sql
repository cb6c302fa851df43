-- What files_folded_key has taken the place of. The index of the insides of keys, files_keys, is not made here: it needs an
-- extension that not every database grants, and servers make it where this one does.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS files_debug_file;
