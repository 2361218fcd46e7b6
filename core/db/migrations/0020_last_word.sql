-- Feedback that was given more than once under one id: each content with its first and its last time. The content with
-- the newest last time is in `feedback`. `content` is a hash of what was said.
CREATE TABLE feedback_history (
    feedback_id VARCHAR NOT NULL,
    content VARCHAR NOT NULL,
    type VARCHAR NOT NULL,
    value JSON NOT NULL,
    comment VARCHAR,
    user_id VARCHAR,
    first TIMESTAMP NOT NULL,
    last TIMESTAMP NOT NULL
);

-- A vote may be given and taken back several times under one id. `asked` is the request, which may mean one of several
-- ids. `met` says whether there is feedback that it takes back.
CREATE TABLE revocations_before AS SELECT * FROM revocations;
DROP TABLE revocations;
CREATE TABLE revocations (
    feedback_id VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    asked VARCHAR NOT NULL,
    met BOOLEAN NOT NULL,
    PRIMARY KEY (feedback_id, key_id, time)
);
INSERT INTO revocations SELECT r.feedback_id, r.key_id, r.time,
    CASE WHEN r.key_id <> '' AND starts_with(r.feedback_id, r.key_id || ':')
        THEN substr(r.feedback_id, length(r.key_id) + 2) ELSE r.feedback_id END,
    EXISTS (SELECT 1 FROM feedback f WHERE f.id = r.feedback_id AND (r.key_id = '' OR r.key_id = f.key_id))
FROM revocations_before r;
DROP TABLE revocations_before;
