-- name: feedback
-- Feedback for an export, oldest first.
SELECT f.id, f.time, f.interaction_id, f.conversation_id, f.type, f.value, f.comment, f.user_id AS "user", f.metadata,
    f.revoked_at, f.key_id, f.choice, f.model
FROM feedback f LEFT JOIN interactions i ON i.id = f.interaction_id
WHERE ($model IS NULL OR i.model = $model) AND ($key IS NULL OR f.key_id = $key) ORDER BY f.time, f.id

-- name: interactions
-- Interactions for an export, in no order: sorting millions of rows would need memory that control does not have.
SELECT id, time, model, version, arm, share, bucket, user_id AS "user", conversation_id AS conversation, endpoint, request,
    answer, choices, finish_reason, status, latency_ms, ttft_ms, prompt_tokens, completion_tokens, streamed,
    coalesce(asked, FALSE) AS asked
FROM interactions WHERE $model IS NULL OR model = $model

-- name: decisions
-- Decisions for an export, oldest first.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, previous_hash, hash
FROM decisions WHERE $model IS NULL OR model = $model ORDER BY seq
