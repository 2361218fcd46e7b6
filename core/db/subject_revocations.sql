-- name: add
-- Add requests to take back what a user said about an interaction.
INSERT INTO subject_revocations SELECT * FROM (SELECT
    unnest($interaction_id::VARCHAR[]), unnest($user_id::VARCHAR[]), unnest($key_id::VARCHAR[]), unnest($time::TIMESTAMP[])
)

-- name: any
-- Whether there is a request.
SELECT 1 FROM subject_revocations LIMIT 1

-- name: of_interactions
-- Requests about these interactions.
SELECT interaction_id, user_id AS "user", key_id AS key, time FROM subject_revocations WHERE interaction_id IN ($ids)

-- name: feedback
-- Feedback on these interactions.
SELECT id, interaction_id, user_id AS "user", key_id AS key, time FROM feedback WHERE interaction_id IN ($ids)

-- name: askers
-- The users of these interactions.
SELECT id, user_id AS "user" FROM interactions WHERE id IN ($ids)
