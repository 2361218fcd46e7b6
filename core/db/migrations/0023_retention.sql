-- Deletions by age. `deleted` has rows and bytes by kind. States: announced, queued, deleting, rewriting, done, failed.
-- The first row announces when the schedule begins to delete.
CREATE TABLE retention_runs (
    id VARCHAR PRIMARY KEY,
    started TIMESTAMP NOT NULL,
    finished TIMESTAMP,
    state VARCHAR NOT NULL,
    actor VARCHAR NOT NULL,
    comment VARCHAR NOT NULL,
    deleted JSON NOT NULL
);

-- Counts of feedback that was deleted by age.
CREATE TABLE deleted_feedback_daily (
    model VARCHAR,
    version INTEGER,
    arm VARCHAR,
    type VARCHAR NOT NULL,
    day DATE NOT NULL,
    n BIGINT NOT NULL,
    revoked BIGINT NOT NULL
);
