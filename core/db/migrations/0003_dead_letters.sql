-- Frames of a spool that make no row: what they held, from where, and why they were refused.
CREATE TABLE dead_letters (
    spool VARCHAR NOT NULL,
    segment BIGINT NOT NULL,
    "offset" BIGINT NOT NULL,
    time TIMESTAMP NOT NULL,
    reason VARCHAR NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (spool, segment, "offset")
);
