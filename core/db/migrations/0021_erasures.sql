-- Erasures of users. `user_id` is the name only while the erasure is pending; `user_hash` stays, so that records of the
-- user from before the erasure are dropped if they arrive later. States: pending, rewriting, done.
CREATE TABLE erasures (
    id VARCHAR PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    user_hash VARCHAR NOT NULL,
    key_id VARCHAR,
    user_id VARCHAR,
    state VARCHAR NOT NULL,
    actor VARCHAR NOT NULL,
    comment VARCHAR NOT NULL,
    finished TIMESTAMP,
    receipt JSON NOT NULL
);

-- Interactions of erased users, and their feedback until the erasure is finished: ids of feedback are the apps' own.
CREATE TABLE erased_interactions (erasure_id VARCHAR NOT NULL, id VARCHAR NOT NULL);
CREATE TABLE erased_feedback (erasure_id VARCHAR NOT NULL, id VARCHAR NOT NULL);

-- Backups that control has made. An erasure lists those that are older than itself.
CREATE TABLE backups (time TIMESTAMP NOT NULL, ledger_head VARCHAR NOT NULL, bytes BIGINT NOT NULL);
