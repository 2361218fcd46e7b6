-- How far each target of notifications has been told of the ledger; `target` is a fingerprint, never a URL.
CREATE TABLE notified (target VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, time TIMESTAMP NOT NULL);
