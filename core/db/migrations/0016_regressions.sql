-- Held-out items on which a candidate did worst against the champion. They are not in the ledger, because they contain
-- answers. `wanted` is a label; corrections are in the feedback.
CREATE TABLE regressions (
    run_id VARCHAR NOT NULL,
    place INTEGER NOT NULL,
    interaction_id VARCHAR NOT NULL,
    kpi VARCHAR NOT NULL,
    wanted VARCHAR,
    champion VARCHAR NOT NULL,
    candidate VARCHAR NOT NULL,
    loss DOUBLE NOT NULL,
    PRIMARY KEY (run_id, place)
);
