-- Held-out items where a candidate was worst against the champion, kept out of the ledger, for they hold what arms wrote.
-- `wanted` is a label; what users wrote is read from their votes.
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
