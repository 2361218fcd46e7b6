-- The key that sent the feedback. NULL for feedback from before keys were stored, or from a file without keys.
ALTER TABLE feedback ADD COLUMN key_id VARCHAR;
-- The arm of the interaction, so that metrics need not join every interaction.
ALTER TABLE feedback ADD COLUMN arm VARCHAR;
UPDATE feedback SET arm = i.arm FROM interactions i WHERE i.id = feedback.interaction_id;

-- A key revokes only its own feedback. '' is a client that may revoke any feedback.
CREATE TABLE revoked_before AS SELECT * FROM revocations;
DROP TABLE revocations;
CREATE TABLE revocations (
    feedback_id VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    PRIMARY KEY (feedback_id, key_id)
);
INSERT INTO revocations SELECT feedback_id, '', time FROM revoked_before;
DROP TABLE revoked_before;

-- A quarantine holds the votes that a version was the first to learn from, or the votes of a key.
ALTER TABLE quarantines ALTER COLUMN version DROP NOT NULL;
ALTER TABLE quarantines ADD COLUMN key_id VARCHAR;
