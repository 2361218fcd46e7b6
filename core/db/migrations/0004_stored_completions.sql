-- Chat completions that an app stored. Their requests are in `interactions`. A deleted row keeps its id: a late copy does
-- not restore it, and a page that begins after it can still be found.
CREATE TABLE stored_completions (
    id VARCHAR PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    key_id VARCHAR NOT NULL,
    metadata JSON NOT NULL,
    completion JSON,
    deleted TIMESTAMP
);
