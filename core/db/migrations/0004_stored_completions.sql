-- Chat completions that an app asked to store. The request stands in `interactions`; a deleted row keeps its id,
-- so that neither a late copy brings it back nor a page that begins after it is lost.
CREATE TABLE stored_completions (
    id VARCHAR PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    key_id VARCHAR NOT NULL,
    metadata JSON NOT NULL,
    completion JSON,
    deleted TIMESTAMP
);
