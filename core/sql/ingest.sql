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

-- name: feedback_add
INSERT INTO feedback
VALUES ($id, $time, $interaction_id, $conversation_id, $type, $value, $comment, $user, $metadata, NULL)
ON CONFLICT DO NOTHING

-- name: revocation_add
INSERT INTO revocations VALUES ($feedback_id, $time) ON CONFLICT DO NOTHING

-- name: feedback_apply_revocations
UPDATE feedback SET revoked_at = r.time FROM revocations r
WHERE feedback.id = r.feedback_id AND feedback.revoked_at IS NULL

-- name: dead_letter_add
INSERT INTO dead_letters VALUES ($spool, $segment, $offset, $time, $reason, $payload)

-- name: dead_letters_count
SELECT count(*) AS n FROM dead_letters
