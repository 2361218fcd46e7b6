-- Requests with their answers, one row per interaction.
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
    request JSON,
    answer VARCHAR,
    finish_reason VARCHAR,
    status INTEGER NOT NULL,
    latency_ms DOUBLE NOT NULL,
    ttft_ms DOUBLE,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    streamed BOOLEAN NOT NULL
);

-- Feedback of users. A row may arrive before its interaction, or without one.
CREATE TABLE feedback (
    id VARCHAR PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    interaction_id VARCHAR,
    conversation_id VARCHAR,
    type VARCHAR NOT NULL,
    value JSON NOT NULL,
    comment VARCHAR,
    user_id VARCHAR,
    metadata JSON NOT NULL,
    revoked_at TIMESTAMP
);
CREATE INDEX feedback_by_interaction ON feedback (interaction_id);

-- A revocation may arrive before its feedback.
CREATE TABLE revocations (feedback_id VARCHAR PRIMARY KEY, time TIMESTAMP NOT NULL);

-- How far each gateway's segments are ingested, in bytes.
CREATE TABLE spool_offsets (
    spool VARCHAR NOT NULL,
    segment BIGINT NOT NULL,
    "offset" BIGINT NOT NULL,
    PRIMARY KEY (spool, segment)
);

CREATE TABLE runs (
    id VARCHAR PRIMARY KEY,
    model VARCHAR NOT NULL,
    trigger VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    started TIMESTAMP NOT NULL,
    finished TIMESTAMP,
    feedback_until TIMESTAMP NOT NULL,
    snapshot VARCHAR,
    candidate INTEGER,
    reason VARCHAR,
    detail JSON NOT NULL
);
CREATE TABLE run_metrics (
    run_id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    phase VARCHAR NOT NULL,
    done INTEGER NOT NULL,
    total INTEGER NOT NULL,
    metrics JSON NOT NULL
);

CREATE TABLE snapshots (
    hash VARCHAR PRIMARY KEY,
    model VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    path VARCHAR NOT NULL,
    report JSON NOT NULL
);
CREATE TABLE snapshot_rows (
    snapshot VARCHAR NOT NULL,
    interaction_id VARCHAR NOT NULL,
    feedback_id VARCHAR NOT NULL,
    bucket VARCHAR NOT NULL
);

CREATE TABLE versions (
    model VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    engine_name VARCHAR NOT NULL UNIQUE,
    path VARCHAR,
    sha256 VARCHAR,
    rank INTEGER NOT NULL,
    run_id VARCHAR,
    time TIMESTAMP NOT NULL,
    PRIMARY KEY (model, version)
);

-- Uses of each holdout bucket of a model.
CREATE TABLE holdout_uses (
    model VARCHAR NOT NULL,
    bucket VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    use INTEGER NOT NULL,
    PRIMARY KEY (model, bucket, use)
);

CREATE TABLE evaluations (
    run_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    suite VARCHAR NOT NULL,
    arm VARCHAR NOT NULL,
    version INTEGER,
    kpi VARCHAR NOT NULL,
    value DOUBLE,
    low DOUBLE,
    high DOUBLE,
    n INTEGER NOT NULL,
    users INTEGER NOT NULL
);

-- The ledger. Rows are only added. `body` is the text that was hashed; the columns are for search.
CREATE TABLE decisions (
    seq BIGINT PRIMARY KEY,
    id VARCHAR NOT NULL UNIQUE,
    time TIMESTAMP NOT NULL,
    model VARCHAR NOT NULL,
    from_version INTEGER,
    to_version INTEGER,
    verdict VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    run_id VARCHAR,
    body VARCHAR NOT NULL,
    previous_hash VARCHAR NOT NULL,
    hash VARCHAR NOT NULL UNIQUE
);

-- The history of routes: one row per change of a model's route. Rows never change.
CREATE TABLE routes (
    model VARCHAR NOT NULL,
    rev INTEGER NOT NULL,
    time TIMESTAMP NOT NULL,
    champion INTEGER NOT NULL,
    canary INTEGER,
    share DOUBLE NOT NULL,
    previous INTEGER,
    salt VARCHAR NOT NULL,
    decision_id VARCHAR,
    PRIMARY KEY (model, rev)
);

-- One row per canary: the settings that were fixed at its start, and its end.
CREATE TABLE canaries (
    run_id VARCHAR PRIMARY KEY,
    model VARCHAR NOT NULL,
    control INTEGER NOT NULL,
    candidate INTEGER NOT NULL,
    share DOUBLE NOT NULL,
    started TIMESTAMP NOT NULL,
    finished TIMESTAMP,
    score_sd DOUBLE NOT NULL,
    plan JSON NOT NULL,
    decision JSON NOT NULL
);
CREATE TABLE canary_looks (
    run_id VARCHAR NOT NULL,
    look INTEGER NOT NULL,
    time TIMESTAMP NOT NULL,
    verdict VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    body JSON NOT NULL,
    PRIMARY KEY (run_id, look)
);
