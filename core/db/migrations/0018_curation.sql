-- When the store took the feedback in, by its own clock. The clocks of clients may be wrong. It has no DEFAULT: DuckDB
-- 1.5.5 cannot replay a log that sets a function as default.
ALTER TABLE feedback ADD COLUMN arrived TIMESTAMP;
UPDATE feedback SET arrived = least(time, make_timestamp(epoch_us(now())));
UPDATE runs SET feedback_until = least(feedback_until, started);

-- One report per snapshot and run: runs with equal rows can have left out different votes.
ALTER TABLE snapshots RENAME TO snapshots_before;
CREATE TABLE snapshots (
    hash VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    path VARCHAR NOT NULL,
    report JSON NOT NULL,
    PRIMARY KEY (hash, run_id)
);
INSERT INTO snapshots SELECT * FROM snapshots_before;
DROP TABLE snapshots_before;
