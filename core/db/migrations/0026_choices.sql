-- Every choice of an answer with its whole message, where `answer` and `finish_reason` do not say all.
ALTER TABLE interactions ADD COLUMN choices VARCHAR;
-- The index of the choice that feedback is about, where the interaction has several.
ALTER TABLE feedback ADD COLUMN choice INTEGER;
