-- Requests to take back what a user said about an interaction, with any ids of feedback. A key of '' may take
-- back the feedback of any key.
CREATE TABLE subject_revocations (
    interaction_id VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL
);
