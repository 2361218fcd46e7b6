-- Model and version of feedback, set when its interaction has arrived. Traffic per day, counted in the transaction that
-- ingests it, so that pages need not read millions of rows.
ALTER TABLE feedback ADD COLUMN model VARCHAR;
ALTER TABLE feedback ADD COLUMN version INTEGER;
UPDATE feedback SET model = i.model, version = i.version FROM interactions i WHERE i.id = feedback.interaction_id;

-- Feedback whose interaction has not arrived.
CREATE TABLE feedback_waiting (interaction_id VARCHAR NOT NULL, feedback_id VARCHAR NOT NULL);
INSERT INTO feedback_waiting
SELECT interaction_id, id FROM feedback WHERE model IS NULL AND interaction_id IS NOT NULL;

CREATE TABLE traffic_daily (
    model VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    arm VARCHAR NOT NULL,
    day DATE NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (model, version, arm, day)
);
INSERT INTO traffic_daily
SELECT model, version, arm, CAST(time AS DATE), count(*), count(*) FILTER (WHERE status >= 500),
    coalesce(sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)), 0)
FROM interactions GROUP BY ALL;

CREATE INDEX decisions_by_run ON decisions (run_id);
