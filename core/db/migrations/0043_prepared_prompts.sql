-- Prompts of interactions as snapshots use them, so that a snapshot reads and scrubs those of new votes only. A row belongs
-- to the rules that made it: `rules` is a hash of them. `scrubbed` is NULL where nothing was replaced, and `replaced` has the
-- replacements by rule. `text_hash` is of the whole text. A prompt that cannot be read has the reason in `unreadable`.
CREATE TABLE prepared_prompts (
    interaction_id VARCHAR PRIMARY KEY,
    model VARCHAR NOT NULL,
    rules VARCHAR NOT NULL,
    prompt VARCHAR USING COMPRESSION zstd,
    scrubbed VARCHAR USING COMPRESSION zstd,
    replaced VARCHAR,
    text_hash UBIGINT,
    unreadable VARCHAR
);
