-- Files for fine-tuning that were uploaded, and the jobs on them. A file's content is in the data folder. A file with a
-- model is for this model alone. `request` is what the job asks for, and `error` why it ended before its run.
CREATE TABLE uploaded_files (
    id VARCHAR PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    filename VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    model VARCHAR,
    actor VARCHAR NOT NULL
);
CREATE TABLE fine_tuning_jobs (
    id VARCHAR PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    model VARCHAR NOT NULL,
    file_id VARCHAR NOT NULL,
    actor VARCHAR NOT NULL,
    request JSON NOT NULL,
    state VARCHAR NOT NULL,
    checked TIMESTAMP,
    examples BIGINT,
    run_id VARCHAR,
    error JSON,
    finished TIMESTAMP
);
