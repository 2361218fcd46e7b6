-- Trials of a run's search: trainings with other values, which the dev part scores. `scores` has the score after each
-- quarter of a training, `figures` what the score of a complete trial is made of, and `reason` why another one ended.
CREATE TABLE trials (
    run_id VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    state VARCHAR NOT NULL,
    trial_values JSON NOT NULL,
    scores JSON NOT NULL,
    score DOUBLE,
    figures JSON NOT NULL,
    seconds DOUBLE NOT NULL,
    reason VARCHAR NOT NULL,
    PRIMARY KEY (run_id, number)
);
