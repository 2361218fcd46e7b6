-- `quarantine_rows` has every vote that a quarantine holds, written when the quarantine is made and when a vote arrives. Until
-- now each question about them compared all votes of the store with all predicates.
ALTER TABLE quarantine_rows ADD COLUMN voter VARCHAR;
ALTER TABLE quarantine_rows ADD COLUMN time TIMESTAMP;
-- Rows that an older release held one by one: they stay, if another word comes under their id.
ALTER TABLE quarantine_rows ADD COLUMN by_id BOOLEAN DEFAULT FALSE;
UPDATE quarantine_rows SET by_id = TRUE;
DELETE FROM quarantine_rows WHERE feedback_id NOT IN (SELECT id FROM feedback);
UPDATE quarantine_rows SET voter = coalesce(f.user_id, f.asker), time = f.time
FROM feedback f WHERE f.id = quarantine_rows.feedback_id;
INSERT INTO quarantine_rows BY NAME
SELECT quarantine_id, feedback_id, voter, time FROM quarantine_votes q
WHERE NOT EXISTS (FROM quarantine_rows r WHERE r.quarantine_id = q.quarantine_id AND r.feedback_id = q.feedback_id);

DROP VIEW quarantined_feedback;
DROP VIEW quarantine_votes;
DROP MACRO TABLE quarantine_votes_since;

CREATE VIEW quarantine_votes AS
SELECT q.quarantine_id, q.feedback_id, b.state, q.voter, q.time
FROM quarantine_rows q JOIN quarantines b ON b.id = q.quarantine_id;

-- Votes that no snapshot may use: those of every quarantine that was not released.
CREATE VIEW quarantined_feedback AS SELECT DISTINCT feedback_id FROM quarantine_votes WHERE state <> 'released';

-- The votes that fit a predicate of one quarantine, or with NULL of any that was not released, and that arrived at a moment or
-- later. With NULL, all votes. `held_model` is the model of the quarantine; the vote may be about another one. There is one
-- branch per kind of predicate, so that each is a join by equality: a brigade can have thousands of users. DuckDB skips older
-- blocks of the table.
CREATE MACRO fitting_votes(one, moment) AS TABLE
WITH predicates AS (
    SELECT p.quarantine_id, p.key_id, p.user_id, b.model, coalesce(p.from_time, TIMESTAMP '-infinity') AS from_time,
        coalesce(p.until_time, TIMESTAMP 'infinity') AS until_time
    FROM quarantine_predicates p JOIN quarantines b ON b.id = p.quarantine_id
    WHERE coalesce(b.id = one, b.state <> 'released')
        AND (p.key_id IS NOT NULL OR p.user_id IS NOT NULL OR p.from_time IS NOT NULL OR p.until_time IS NOT NULL)
), given AS NOT MATERIALIZED (
    SELECT id, time, key_id, coalesce(user_id, asker) AS voter, model, type, value FROM feedback
    WHERE moment IS NULL OR arrived >= moment
)
SELECT p.quarantine_id, p.model AS held_model, f.id, f.time, f.voter, f.model, f.type, f.value
FROM predicates p JOIN given f ON f.voter = p.user_id AND f.time >= p.from_time AND f.time < p.until_time
WHERE p.key_id IS NULL OR f.key_id = p.key_id
UNION ALL
SELECT p.quarantine_id, p.model, f.id, f.time, f.voter, f.model, f.type, f.value
FROM predicates p JOIN given f ON f.key_id = p.key_id AND f.time >= p.from_time AND f.time < p.until_time
WHERE p.user_id IS NULL
UNION ALL
SELECT p.quarantine_id, p.model, f.id, f.time, f.voter, f.model, f.type, f.value
FROM predicates p JOIN given f ON f.time >= p.from_time AND f.time < p.until_time
WHERE p.user_id IS NULL AND p.key_id IS NULL;
