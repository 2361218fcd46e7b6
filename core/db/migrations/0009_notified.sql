-- The newest decision that each notification target received. `target` is a fingerprint, never a URL.
CREATE TABLE notified (target VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, time TIMESTAMP NOT NULL);
