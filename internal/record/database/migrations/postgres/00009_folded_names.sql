-- What names of files have in common with their spellings in another case, as package symbol folds them. NULL where an older
-- version recorded the file: those are folded in the background, the newest first.

-- +goose Up
SET LOCAL lock_timeout = '2s'; -- whoever comes while this waits for a reader waits as well
ALTER TABLE files ADD COLUMN folded_key TEXT COLLATE "C";       -- of debug_file/debug_id/file
ALTER TABLE files ADD COLUMN folded_code_file TEXT COLLATE "C"; -- of code_file, or of debug_file where there is none; NULL without a code_id
