-- A predicate of a quarantine names no cluster of prompts: nothing ever set it. Brigades are held by their voters, so that
-- an honest vote on the same prompt stays in use.
DROP VIEW quarantined_feedback;
DROP VIEW quarantine_votes;
ALTER TABLE quarantine_predicates DROP COLUMN cluster;

-- The votes of every quarantine. One that was released shows the votes that it held at its end.
-- One branch per kind of predicate, so that each is a join by equality: a brigade can have thousands of users.
CREATE VIEW quarantine_votes AS
WITH wanted AS (
    SELECT p.quarantine_id, p.key_id, p.user_id, b.model, b.state,
        coalesce(p.from_time, TIMESTAMP '-infinity') AS from_time,
        least(coalesce(p.until_time, TIMESTAMP 'infinity'), CASE b.state WHEN 'released' THEN b.decided END) AS until_time
    FROM quarantine_predicates p JOIN quarantines b ON b.id = p.quarantine_id
    WHERE p.key_id IS NOT NULL OR p.user_id IS NOT NULL OR p.from_time IS NOT NULL OR p.until_time IS NOT NULL
), fitting AS MATERIALIZED (
    SELECT w.quarantine_id, w.state, w.model AS held_model, f.id, f.model, f.type, f.value, f.conversation_id
    FROM wanted w JOIN feedback f ON f.user_id = w.user_id AND f.time >= w.from_time AND f.time < w.until_time
    WHERE w.key_id IS NULL OR f.key_id = w.key_id
    UNION ALL
    SELECT w.quarantine_id, w.state, w.model, f.id, f.model, f.type, f.value, f.conversation_id
    FROM wanted w JOIN feedback f ON f.key_id = w.key_id AND f.time >= w.from_time AND f.time < w.until_time
    WHERE w.user_id IS NULL
    UNION ALL
    SELECT w.quarantine_id, w.state, w.model, f.id, f.model, f.type, f.value, f.conversation_id
    FROM wanted w JOIN feedback f ON f.time >= w.from_time AND f.time < w.until_time
    WHERE w.user_id IS NULL AND w.key_id IS NULL
), asked AS MATERIALIZED (
    -- Answers of the users that are named: a vote on them without a user is theirs.
    SELECT w.*, i.id, i.conversation_id FROM wanted w JOIN interactions i ON i.user_id = w.user_id AND i.model = w.model
), unnamed AS (
    SELECT a.quarantine_id, a.state, a.key_id AS held_key, a.from_time, a.until_time, f.id, f.key_id, f.time
    FROM asked a JOIN feedback f ON f.interaction_id = a.id WHERE f.user_id IS NULL
    UNION ALL
    SELECT a.quarantine_id, a.state, a.key_id, a.from_time, a.until_time, f.id, f.key_id, f.time
    FROM asked a JOIN feedback f ON f.conversation_id = a.conversation_id WHERE f.user_id IS NULL
    UNION ALL
    SELECT a.quarantine_id, a.state, a.key_id, a.from_time, a.until_time, f.id, f.key_id, f.time
    FROM asked a JOIN (SELECT * FROM feedback WHERE type = 'preference' AND user_id IS NULL) f
        ON json_extract_string(f.value, '$.chosen') = a.id
)
SELECT q.quarantine_id, q.feedback_id, b.state FROM quarantine_rows q JOIN quarantines b ON b.id = q.quarantine_id
UNION
SELECT quarantine_id, id, state FROM fitting WHERE model = held_model
UNION
SELECT quarantine_id, id, state FROM unnamed
WHERE (held_key IS NULL OR key_id = held_key) AND time >= from_time AND time < until_time
UNION
-- Preferences and feedback on a conversation have no model of their own.
SELECT u.quarantine_id, u.id, u.state FROM fitting u
JOIN interactions i ON i.id = json_extract_string(u.value, '$.chosen') AND i.model = u.held_model
WHERE u.model IS NULL AND u.type = 'preference'
UNION
SELECT u.quarantine_id, u.id, u.state FROM fitting u
JOIN interactions i ON i.conversation_id = u.conversation_id AND i.model = u.held_model WHERE u.model IS NULL;

-- Votes that no snapshot may use: those of every quarantine that was not released.
CREATE VIEW quarantined_feedback AS SELECT DISTINCT feedback_id FROM quarantine_votes WHERE state <> 'released';
