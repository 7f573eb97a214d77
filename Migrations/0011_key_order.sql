-- Nodes read all keys page by page, in the order of their bytes. The primary key is in the order of the database's own
-- collation, whatever that is called, so that each page sorted all keys: a million took a minute.
CREATE INDEX api_keys_in_order ON api_keys (key_id COLLATE "C");
