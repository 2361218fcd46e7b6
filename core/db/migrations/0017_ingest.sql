-- Texts are compressed with zstd: the file is half as large, and a checkpoint has half as much to write. `key_id` is the
-- API key of the request, NULL for interactions from before keys were stored.
ALTER TABLE interactions RENAME TO interactions_before;
CREATE TABLE interactions (
    id VARCHAR PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    model VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    arm VARCHAR NOT NULL,
    share DOUBLE NOT NULL,
    bucket DOUBLE,
    user_id VARCHAR,
    conversation_id VARCHAR,
    endpoint VARCHAR NOT NULL,
    request JSON USING COMPRESSION zstd,
    answer VARCHAR USING COMPRESSION zstd,
    finish_reason VARCHAR,
    status INTEGER NOT NULL,
    latency_ms DOUBLE NOT NULL,
    ttft_ms DOUBLE,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    streamed BOOLEAN NOT NULL,
    key_id VARCHAR
);
INSERT INTO interactions SELECT *, NULL FROM interactions_before ORDER BY time;
DROP TABLE interactions_before;
