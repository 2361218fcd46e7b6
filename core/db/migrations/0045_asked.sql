-- Whether an interaction was drawn at random, and its answer marked, so that the app asks its user for a label. NULL for
-- interactions from before there was a draw.
ALTER TABLE interactions ADD COLUMN asked BOOLEAN;
