-- API keys, with hashes of their secrets. Rows are never deleted, so that an id is never used again.
CREATE TABLE api_keys (
    id VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    scopes VARCHAR[] NOT NULL,
    models VARCHAR[],
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    concurrent INTEGER,
    expires TIMESTAMP,
    created TIMESTAMP NOT NULL,
    creator VARCHAR NOT NULL,
    rotated TIMESTAMP,
    previous_digest VARCHAR,
    previous_until TIMESTAMP,
    revoked TIMESTAMP
);
