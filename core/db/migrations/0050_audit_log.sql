-- The audit log: who did or read what, from where, with which outcome. Rows are only added, and deleted by age from
-- the oldest on. `hash` is over the hash of the row before and all other columns but `seq`.
CREATE TABLE audit_log (
    seq BIGINT PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    act VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    status INTEGER NOT NULL,
    actor VARCHAR NOT NULL,
    address VARCHAR NOT NULL,
    route VARCHAR NOT NULL,
    model VARCHAR,
    object VARCHAR NOT NULL,
    n INTEGER NOT NULL,
    request_id VARCHAR NOT NULL,
    hash VARCHAR NOT NULL
);
