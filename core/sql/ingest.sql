-- name: spool_offset
SELECT "offset" FROM spool_offsets WHERE spool = $spool AND segment = $segment

-- name: spool_advance
INSERT INTO spool_offsets VALUES ($spool, $segment, $offset)
ON CONFLICT (spool, segment) DO UPDATE SET "offset" = excluded."offset"

-- name: interaction_add
INSERT INTO interactions VALUES (
    $id, $time, $model, $version, $arm, $share, $bucket, $user, $conversation, $endpoint, $request, $answer,
    $finish_reason, $status, $latency_ms, $ttft_ms, $prompt_tokens, $completion_tokens, $streamed
) ON CONFLICT DO NOTHING

-- name: traffic_add
INSERT INTO traffic_daily VALUES ($model, $version, $arm, $day, $requests, $errors, $tokens)
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, errors = errors + excluded.errors,
    tokens = tokens + excluded.tokens

-- name: feedback_add
-- What it is about is known if the interaction came first.
INSERT INTO feedback
SELECT $id, $time, $interaction_id, $conversation_id, $type, $value, $comment, $user, $metadata, NULL, about.model,
    about.version, $key_id, about.arm
FROM (SELECT 1) LEFT JOIN (SELECT model, version, arm FROM interactions WHERE id = $interaction_id) about ON TRUE
ON CONFLICT DO NOTHING

-- name: feedback_wait
INSERT INTO feedback_waiting
SELECT interaction_id, id FROM feedback WHERE id = $id AND model IS NULL AND interaction_id IS NOT NULL

-- name: feedback_awaited
-- Feedback that waited for interactions that are there now.
SELECT w.feedback_id AS id, i.model, i.version, i.arm
FROM feedback_waiting w JOIN interactions i ON i.id = w.interaction_id
WHERE w.interaction_id IN (SELECT unnest($ids))

-- name: feedback_met
UPDATE feedback SET model = $model, version = $version, arm = $arm WHERE id = $id

-- name: feedback_waits_no_more
DELETE FROM feedback_waiting WHERE feedback_id = $id

-- name: revocation_add
INSERT INTO revocations VALUES ($feedback_id, $key_id, $time) ON CONFLICT DO NOTHING

-- name: feedback_apply_revocations
UPDATE feedback SET revoked_at = r.time FROM revocations r
WHERE feedback.id = r.feedback_id AND (r.key_id = '' OR r.key_id = feedback.key_id) AND feedback.revoked_at IS NULL

-- name: dead_letter_add
INSERT INTO dead_letters VALUES ($spool, $segment, $offset, $time, $reason, $payload)

-- name: dead_letters_count
SELECT count(*) AS n FROM dead_letters
