-- The insides of keys, by their trigrams: of files that were stored, as soon as their names are folded. Keys are looked up by it
-- and compared then, so it has no more than which file has which trigrams. Triggers keep it, whichever version of the program
-- writes files. files_folded_key has taken the place of files_debug_file.

-- +goose Up
CREATE VIRTUAL TABLE files_keys USING fts5 (key, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1');

-- +goose StatementBegin
CREATE TRIGGER files_keys_insert AFTER INSERT ON files WHEN new.state = 'uploaded' AND new.folded_key IS NOT NULL BEGIN
	INSERT INTO files_keys (rowid, key) VALUES (new.id, new.folded_key);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER files_keys_update AFTER UPDATE OF folded_key ON files WHEN new.state = 'uploaded' AND new.folded_key IS NOT NULL BEGIN
	INSERT OR REPLACE INTO files_keys (rowid, key) VALUES (new.id, new.folded_key);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER files_keys_delete AFTER DELETE ON files WHEN old.state = 'uploaded' AND old.folded_key IS NOT NULL BEGIN
	DELETE FROM files_keys WHERE rowid = old.id;
END;
-- +goose StatementEnd

-- What a version of the program has folded that did not know of this index.
INSERT INTO files_keys (rowid, key) SELECT id, folded_key FROM files WHERE state = 'uploaded' AND folded_key IS NOT NULL;

DROP INDEX files_debug_file;
