-- Frames of a spool that could not become rows, with their content, their position and the reason.
CREATE TABLE dead_letters (
    spool VARCHAR NOT NULL,
    segment BIGINT NOT NULL,
    "offset" BIGINT NOT NULL,
    time TIMESTAMP NOT NULL,
    reason VARCHAR NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (spool, segment, "offset")
);
