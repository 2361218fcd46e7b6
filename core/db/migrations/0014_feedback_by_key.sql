-- Which key gave a piece of feedback; NULL for what came before keys were written down, or from a file without them.
ALTER TABLE feedback ADD COLUMN key_id VARCHAR;
-- And which arm gave what it is about, so that metrics need not join it with every interaction.
ALTER TABLE feedback ADD COLUMN arm VARCHAR;
UPDATE feedback SET arm = i.arm FROM interactions i WHERE i.id = feedback.interaction_id;

-- A key takes back only what it gave itself: '' stands for whoever may take back anything.
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

-- A quarantine holds what a version was the first to learn from, or what a key gave.
ALTER TABLE quarantines ALTER COLUMN version DROP NOT NULL;
ALTER TABLE quarantines ADD COLUMN key_id VARCHAR;
