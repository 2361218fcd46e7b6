-- When a deletion by age cleared the texts of an interaction. A search for texts that are left reads this column instead of
-- the texts, which are most of the table.
ALTER TABLE interactions ADD COLUMN texts_deleted TIMESTAMP;
