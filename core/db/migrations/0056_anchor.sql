-- The version that candidates are compared with besides the champion. NULL in older rows: the champion of that row.
ALTER TABLE routes ADD COLUMN anchor INTEGER;
