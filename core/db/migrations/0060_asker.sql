-- The user of the answer that feedback is about, where the feedback names no user itself: it counts as theirs. Without this
-- column, to find the votes that a quarantine holds read every interaction.
ALTER TABLE feedback ADD COLUMN asker VARCHAR;
UPDATE feedback SET asker = i.user_id FROM interactions i
WHERE feedback.user_id IS NULL AND i.user_id IS NOT NULL AND i.id = feedback.interaction_id;
UPDATE feedback SET asker = i.user_id FROM interactions i
WHERE feedback.user_id IS NULL AND i.user_id IS NOT NULL AND feedback.type = 'preference'
    AND i.id = json_extract_string(feedback.value, '$.chosen');
UPDATE feedback SET asker = i.user_id FROM (
    SELECT conversation_id, arg_max(user_id, time) AS user_id FROM interactions
    WHERE conversation_id IN (SELECT conversation_id FROM feedback WHERE user_id IS NULL) GROUP BY conversation_id
) i
WHERE feedback.user_id IS NULL AND i.user_id IS NOT NULL AND feedback.interaction_id IS NULL
    AND i.conversation_id = feedback.conversation_id;

-- The votes of every quarantine that arrived later than a moment, or all of them with NULL. A quarantine that was released
-- shows the votes that it held at its end. There is one branch per kind of predicate, so that each is a join by equality: a
-- brigade can have thousands of users. DuckDB skips older blocks of the table.
DROP VIEW quarantined_feedback;
DROP VIEW quarantine_votes;
CREATE MACRO quarantine_votes_since(moment) AS TABLE
WITH wanted AS (
    SELECT p.quarantine_id, p.key_id, p.user_id, b.model, b.state,
        coalesce(p.from_time, TIMESTAMP '-infinity') AS from_time,
        least(coalesce(p.until_time, TIMESTAMP 'infinity'), CASE b.state WHEN 'released' THEN b.decided END) AS until_time
    FROM quarantine_predicates p JOIN quarantines b ON b.id = p.quarantine_id
    WHERE p.key_id IS NOT NULL OR p.user_id IS NOT NULL OR p.from_time IS NOT NULL OR p.until_time IS NOT NULL
), given AS NOT MATERIALIZED (
    SELECT id, time, key_id, coalesce(user_id, asker) AS voter, model FROM feedback
    WHERE moment IS NULL OR arrived > moment
), fitting AS MATERIALIZED (
    SELECT w.quarantine_id, w.state, w.model AS held_model, f.id, f.model, f.voter, f.time
    FROM wanted w JOIN given f ON f.voter = w.user_id AND f.time >= w.from_time AND f.time < w.until_time
    WHERE w.key_id IS NULL OR f.key_id = w.key_id
    UNION ALL
    SELECT w.quarantine_id, w.state, w.model, f.id, f.model, f.voter, f.time
    FROM wanted w JOIN given f ON f.key_id = w.key_id AND f.time >= w.from_time AND f.time < w.until_time
    WHERE w.user_id IS NULL
    UNION ALL
    SELECT w.quarantine_id, w.state, w.model, f.id, f.model, f.voter, f.time
    FROM wanted w JOIN given f ON f.time >= w.from_time AND f.time < w.until_time
    WHERE w.user_id IS NULL AND w.key_id IS NULL
), without_model AS MATERIALIZED (
    -- Preferences, and feedback on a conversation that is not known, have no model of their own.
    SELECT u.*, f.type, f.value, f.conversation_id
    FROM fitting u JOIN feedback f ON f.id = u.id WHERE u.model IS NULL
)
SELECT q.quarantine_id, q.feedback_id, b.state, coalesce(f.user_id, f.asker) AS voter, f.time
FROM quarantine_rows q JOIN quarantines b ON b.id = q.quarantine_id JOIN feedback f ON f.id = q.feedback_id
UNION
SELECT quarantine_id, id, state, voter, time FROM fitting WHERE model = held_model
UNION
SELECT u.quarantine_id, u.id, u.state, u.voter, u.time FROM without_model u
JOIN interactions i ON i.id = json_extract_string(u.value, '$.chosen') AND i.model = u.held_model
WHERE u.type = 'preference'
UNION
SELECT u.quarantine_id, u.id, u.state, u.voter, u.time FROM without_model u
JOIN interactions i ON i.conversation_id = u.conversation_id AND i.model = u.held_model;

CREATE VIEW quarantine_votes AS FROM quarantine_votes_since(NULL);

-- Votes that no snapshot may use: those of every quarantine that was not released.
CREATE VIEW quarantined_feedback AS SELECT DISTINCT feedback_id FROM quarantine_votes WHERE state <> 'released';
