-- name: suspect_votes
-- Votes in a version's snapshot that are not in the snapshot of the version it is compared with. Where that version
-- has none, the newest version before it counts.
SELECT DISTINCT s.feedback_id FROM versions v JOIN runs r ON r.id = v.run_id
JOIN snapshot_rows s ON s.snapshot = r.snapshot
WHERE v.model = $model AND v.version = $version AND s.feedback_id NOT IN (
    SELECT known.feedback_id FROM snapshot_rows known WHERE known.snapshot = (
        SELECT r.snapshot FROM versions v JOIN runs r ON r.id = v.run_id
        WHERE v.model = $model AND v.version <= $beside AND r.snapshot IS NOT NULL ORDER BY v.version DESC LIMIT 1
    )
) AND s.feedback_id NOT IN (SELECT feedback_id FROM quarantined_feedback)
ORDER BY s.feedback_id

-- name: add
-- Add a quarantine of a version's votes.
INSERT INTO quarantines (id, model, version, decision_id, time, state)
VALUES ($id, $model, $version, $decision_id, $time, 'held')

-- name: add_for_key
-- Add a quarantine of a key's votes, by the newest decision, which is from the same transaction.
INSERT INTO quarantines (id, model, key_id, decision_id, time, state)
SELECT $id, $model, $key_id, d.id, d.time, 'held' FROM decisions d ORDER BY d.seq DESC LIMIT 1

-- name: votes_of_key
-- Votes of a key that were not revoked and are in no quarantine.
SELECT f.id AS feedback_id FROM feedback f
WHERE f.key_id = $key_id AND f.model = $model AND f.revoked_at IS NULL
    AND f.id NOT IN (SELECT feedback_id FROM quarantined_feedback)
ORDER BY f.id

-- name: add_votes
-- Add votes to a quarantine.
INSERT INTO quarantine_rows VALUES ($quarantine_id, $feedback_id)

-- name: find
-- One quarantine by its id, or by its decision's number.
SELECT b.id, b.model, b.version, b.key_id AS "key", b.decision_id, b.time, b.state, b.decided, b.actor, b.comment
FROM quarantines b LEFT JOIN decisions d ON d.id = b.decision_id WHERE b.id = $id OR CAST(d.seq AS VARCHAR) = $id

-- name: set_outcome
-- Record the outcome of a quarantine.
UPDATE quarantines SET state = $state, decided = $time, actor = $actor, comment = $comment WHERE id = $id

-- name: newest
-- Quarantines with their size, newest first. A model of NULL means every model.
SELECT b.id, d.seq AS decision_seq, b.model, b.version, b.key_id AS "key", b.decision_id, b.time, b.state, b.decided,
    b.actor, b.comment, count(*) AS votes, count(DISTINCT coalesce(f.user_id, i.user_id, i.conversation_id)) AS users
FROM quarantines b JOIN quarantine_rows q ON q.quarantine_id = b.id LEFT JOIN decisions d ON d.id = b.decision_id
LEFT JOIN feedback f ON f.id = q.feedback_id LEFT JOIN interactions i ON i.id = f.interaction_id
WHERE $model IS NULL OR b.model = $model GROUP BY ALL ORDER BY b.time DESC, b.id

-- name: votes
-- Votes in a quarantine. Users with most votes come first.
SELECT f.id, f.time, coalesce(f.user_id, i.user_id, i.conversation_id) AS who, f.type, f.value, f.comment,
    f.interaction_id, i.answer, f.revoked_at, f.key_id AS "key"
FROM quarantine_rows q JOIN feedback f ON f.id = q.feedback_id LEFT JOIN interactions i ON i.id = f.interaction_id
WHERE q.quarantine_id = $id ORDER BY count(*) OVER (PARTITION BY who) DESC, who, f.time, f.id LIMIT $limit
