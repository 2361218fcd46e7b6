-- The share of users that `previous` keeps after a promotion.
ALTER TABLE routes ADD COLUMN holdback DOUBLE DEFAULT 0;

-- One row per holdback: the settings that were fixed at its start, its newest numbers, and its end.
CREATE TABLE holdbacks (
    run_id VARCHAR PRIMARY KEY,
    model VARCHAR NOT NULL,
    promoted INTEGER NOT NULL,
    held INTEGER NOT NULL,
    share DOUBLE NOT NULL,
    score_sd DOUBLE NOT NULL,
    started TIMESTAMP NOT NULL,
    until TIMESTAMP NOT NULL,
    finished TIMESTAMP,
    looked TIMESTAMP,
    numbers JSON
);

-- Votes that a rolled-back version was the first to learn from. State `held` during the review, then `released` or
-- `rejected`.
CREATE TABLE quarantines (
    id VARCHAR PRIMARY KEY,
    model VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    decision_id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    state VARCHAR NOT NULL,
    decided TIMESTAMP,
    actor VARCHAR,
    comment VARCHAR
);
CREATE TABLE quarantine_rows (
    quarantine_id VARCHAR NOT NULL,
    feedback_id VARCHAR NOT NULL,
    PRIMARY KEY (quarantine_id, feedback_id)
);
