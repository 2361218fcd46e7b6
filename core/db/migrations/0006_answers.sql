-- Answers of engines in evaluations, by the hash of engine, version, prompt and parameters.
CREATE TABLE answers (
    key VARCHAR PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    engine_name VARCHAR NOT NULL,
    answer VARCHAR NOT NULL
);
