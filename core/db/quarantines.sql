-- name: add
-- Add a quarantine.
INSERT INTO quarantines (id, model, version, decision_id, time, state)
VALUES ($id, $model, $version, $decision_id, $time, 'held')

-- name: add_predicates
-- Add predicates to a quarantine: it holds every vote on its model that fits one of them. NULL fits every vote.
INSERT INTO quarantine_predicates (quarantine_id, key_id, user_id, from_time, until_time)
SELECT ($quarantine_id::VARCHAR[])[1], * FROM (SELECT
    unnest($key_id::VARCHAR[]), unnest($user_id::VARCHAR[]), unnest($from_time::TIMESTAMP[]),
    unnest($until_time::TIMESTAMP[]))

-- name: moment
-- When this transaction began, which is when everything that it adds arrived. NULL if no quarantine can hold more votes.
SELECT CASE WHEN EXISTS (FROM quarantines WHERE state <> 'released') THEN make_timestamp(epoch_us(now())) END AS moment

-- name: hold
-- Hold the votes that fit a predicate of one quarantine. Preferences, which have no model of their own, stay out.
INSERT INTO quarantine_rows BY NAME
SELECT DISTINCT quarantine_id, id AS feedback_id, voter, time FROM fitting_votes($quarantine_id, NULL)
WHERE model = held_model

-- name: hold_preferences
-- Hold the preferences that fit, by the model of the chosen answer. Without any, no interaction is read.
INSERT INTO quarantine_rows BY NAME
SELECT DISTINCT f.quarantine_id, f.id AS feedback_id, f.voter, f.time FROM fitting_votes($quarantine_id, NULL) f
JOIN interactions i ON i.id = json_extract_string(f.value, '$.chosen') AND i.model = f.held_model
WHERE f.model IS NULL AND f.type = 'preference'

-- name: fitting
-- Votes that arrived at a moment or later and fit a predicate of a quarantine that was not released, without those that it holds.
-- A preference has no model of its own, but its chosen answer.
SELECT DISTINCT f.quarantine_id, f.held_model, f.id, f.voter, f.time,
    CASE WHEN f.model IS NULL THEN coalesce(json_extract_string(f.value, '$.chosen'), '') END AS chosen
FROM fitting_votes(NULL, $moment) f
ANTI JOIN quarantine_rows r ON r.quarantine_id = f.quarantine_id AND r.feedback_id = f.id
WHERE (f.model IS NULL AND f.type = 'preference') OR f.model = f.held_model

-- name: add_rows
-- Add votes to quarantines.
INSERT INTO quarantine_rows BY NAME SELECT * FROM given

-- name: let_go
-- Hold these votes no more. What an older release held by id stays.
DELETE FROM quarantine_rows WHERE feedback_id IN ($ids) AND NOT by_id

-- name: size
-- Votes that a quarantine holds, those that no other one holds, and the voters who gave them. A voter is a key with a
-- user. A vote that was taken back counts for neither.
SELECT count(*) AS votes, count(*) FILTER (WHERE NOT elsewhere) AS added,
    count(DISTINCT (coalesce(key_id, ''), coalesce(who, ''))) AS voters
FROM (
    SELECT f.id, f.key_id, coalesce(f.user_id, f.asker) AS who, f.id IN (
        SELECT o.feedback_id FROM quarantine_votes o WHERE o.quarantine_id <> $id AND o.state <> 'released'
    ) AS elsewhere
    FROM quarantine_votes q JOIN feedback f ON f.id = q.feedback_id AND f.revoked_at IS NULL
    WHERE q.quarantine_id = $id
)

-- name: find
-- One quarantine by its id, or by its decision's number.
SELECT b.id, b.model, b.version, b.decision_id, b.time, b.state, b.decided, b.actor, b.comment
FROM quarantines b LEFT JOIN decisions d ON d.id = b.decision_id WHERE b.id = $id OR CAST(d.seq AS VARCHAR) = $id

-- name: held_after
-- Quarantines of votes that the rollback of a version put there, and that nobody has decided.
SELECT id FROM quarantines WHERE model = $model AND version = $version AND state = 'held' ORDER BY time, id

-- name: predicates
-- The predicates of these quarantines.
SELECT quarantine_id, key_id AS "key", user_id AS "user", from_time AS "from", until_time AS "until"
FROM quarantine_predicates WHERE quarantine_id IN (SELECT unnest($ids::VARCHAR[]))
ORDER BY quarantine_id, key_id, user_id, from_time, until_time

-- name: same_held
-- A quarantine of a model with exactly this one predicate that was not released.
SELECT b.id FROM quarantines b JOIN quarantine_predicates p ON p.quarantine_id = b.id
WHERE b.model = $model AND b.state <> 'released' AND p.key_id IS NOT DISTINCT FROM $key_id
    AND p.user_id IS NOT DISTINCT FROM $user_id AND p.from_time IS NOT DISTINCT FROM $from_time
    AND p.until_time IS NOT DISTINCT FROM $until_time
LIMIT 1

-- name: named_voters
-- Voters whom a quarantine of a model names, in any state.
SELECT DISTINCT p.key_id AS "key", p.user_id AS "user"
FROM quarantines b JOIN quarantine_predicates p ON p.quarantine_id = b.id
WHERE b.model = $model AND p.user_id IS NOT NULL

-- name: set_outcome
-- Record the outcome of a quarantine.
UPDATE quarantines SET state = $state, decided = $time, actor = $actor, comment = $comment WHERE id = $id

-- name: undecided
-- Number of quarantines by model that nobody has decided.
SELECT model, count(*) AS n FROM quarantines WHERE state = 'held' GROUP BY model ORDER BY model

-- name: newest
-- Quarantines with their size, newest first. A model of NULL means every model. `unnamed` is the number of votes whose user
-- is not known.
WITH sizes AS (
    SELECT quarantine_id, count(*) AS votes, count(DISTINCT voter) AS users, count(*) - count(voter) AS unnamed
    FROM quarantine_votes GROUP BY quarantine_id
)
SELECT b.id, d.seq AS decision_seq, b.model, b.version, b.decision_id, b.time, b.state, b.decided, b.actor, b.comment,
    coalesce(s.votes, 0) AS votes, coalesce(s.users, 0) AS users, coalesce(s.unnamed, 0) AS unnamed
FROM quarantines b LEFT JOIN decisions d ON d.id = b.decision_id LEFT JOIN sizes s ON s.quarantine_id = b.id
WHERE $model IS NULL OR b.model = $model ORDER BY b.time DESC, b.id

-- name: held
-- Votes in a quarantine, each with the number of its votes and of their users. Users with most votes come first.
WITH held AS MATERIALIZED (
    SELECT feedback_id, voter, time FROM quarantine_votes WHERE quarantine_id = $id
)
SELECT feedback_id AS id, voter, count(*) OVER () AS votes, (SELECT count(DISTINCT voter) FROM held) AS users,
    count(*) OVER () - count(voter) OVER () AS unnamed
FROM held ORDER BY voter IS NULL, count(*) OVER (PARTITION BY voter) DESC, voter, time, id LIMIT $limit

-- name: votes
-- What these votes say.
SELECT id, time, type, value, comment, interaction_id, revoked_at, key_id AS "key" FROM feedback WHERE id IN ($ids)

-- name: answers
-- The answers of these interactions, and their conversations.
SELECT id, coalesce(answer, choices) AS answer, conversation_id FROM interactions WHERE id IN ($ids)

-- name: voters_against
-- Voters whose thumbs-down and flags on a version's answers could be a burst or contradict others: `peak` is the most
-- of them in one slot of ten minutes, and of the `compared` answers that others judged too, others approve of
-- `contradicted`. `typical` is the median of votes against the version over its voters. A row without a user is a key:
-- its votes are compared with those of other keys. A vote without a user is by the user of its answer.
WITH votes AS (
    SELECT f.interaction_id, f.time, f.key_id, coalesce(f.user_id, f.asker) AS voter,
        CASE WHEN f.type = 'thumbs' AND f.value::VARCHAR = 'true' THEN 1 ELSE -1 END AS score
    FROM feedback f
    WHERE f.model = $model AND f.version = $version AND f.interaction_id IS NOT NULL AND f.revoked_at IS NULL
        AND (f.type = 'thumbs' OR (f.type = 'flag' AND f.value::VARCHAR IN ('"unsafe"', '"hallucination"')))
        AND f.id NOT IN (SELECT feedback_id FROM quarantined_feedback)
), answers AS (
    SELECT interaction_id, sum(score) AS score, count(*) AS n FROM votes GROUP BY interaction_id
), given AS (
    SELECT key_id, voter, interaction_id, sum(score) AS score, count(*) AS n FROM votes WHERE voter IS NOT NULL
    GROUP BY key_id, voter, interaction_id
    UNION ALL
    SELECT key_id, NULL, interaction_id, sum(score), count(*) FROM votes WHERE key_id IS NOT NULL
    GROUP BY key_id, interaction_id
), compared AS (
    SELECT g.key_id, g.voter, count(*) FILTER (WHERE a.n > g.n) AS compared,
        count(*) FILTER (WHERE a.score > g.score) AS contradicted
    FROM given g JOIN answers a ON a.interaction_id = g.interaction_id WHERE g.score < 0 GROUP BY g.key_id, g.voter
), slots AS (
    SELECT key_id, voter, time_bucket(INTERVAL 10 MINUTE, time) AS slot, count(*) AS n FROM votes
    WHERE score < 0 AND voter IS NOT NULL GROUP BY ALL
), peaks AS (
    SELECT key_id, voter, sum(n)::BIGINT AS against, max(n) AS peak, median(sum(n)) OVER () AS typical FROM slots
    GROUP BY key_id, voter
)
SELECT c.key_id AS "key", c.voter AS "user", coalesce(p.peak, 0) AS peak, coalesce(p.typical, 0) AS typical,
    c.compared, c.contradicted
FROM compared c LEFT JOIN peaks p ON p.key_id IS NOT DISTINCT FROM c.key_id AND p.voter = c.voter
WHERE coalesce(p.peak, 0) >= $least OR c.contradicted >= $least
ORDER BY coalesce(p.peak, 0) DESC, c.contradicted DESC, "key", "user" LIMIT 1000
