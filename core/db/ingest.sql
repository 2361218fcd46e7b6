-- name: spool_offset
SELECT "offset" FROM spool_offsets WHERE spool = $spool AND segment = $segment

-- name: spool_advance
INSERT INTO spool_offsets VALUES ($spool, $segment, $offset)
ON CONFLICT (spool, segment) DO UPDATE SET "offset" = excluded."offset"

-- name: interaction_add
-- Each parameter is a list with a value for each row; returns the ids that were new.
INSERT INTO interactions SELECT * FROM (SELECT
    unnest($id::VARCHAR[]), unnest($time::TIMESTAMP[]), unnest($model::VARCHAR[]), unnest($version::INTEGER[]),
    unnest($arm::VARCHAR[]), unnest($share::DOUBLE[]), unnest($bucket::DOUBLE[]), unnest($user::VARCHAR[]),
    unnest($conversation::VARCHAR[]), unnest($endpoint::VARCHAR[]), unnest($request::VARCHAR[]),
    unnest($answer::VARCHAR[]), unnest($finish_reason::VARCHAR[]), unnest($status::INTEGER[]),
    unnest($latency_ms::DOUBLE[]), unnest($ttft_ms::DOUBLE[]), unnest($prompt_tokens::INTEGER[]),
    unnest($completion_tokens::INTEGER[]), unnest($streamed::BOOLEAN[])
) ON CONFLICT DO NOTHING RETURNING id

-- name: traffic_add
INSERT INTO traffic_daily VALUES ($model, $version, $arm, $day, $requests, $errors, $tokens)
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, errors = errors + excluded.errors,
    tokens = tokens + excluded.tokens

-- name: feedback_add
-- Each parameter is a list with a value for each row. What it is about is known if the interaction came first; returns
-- the rows that were new.
INSERT INTO feedback
SELECT said.id, said.time, said.interaction_id, said.conversation_id, said.type, said.value, said.comment, said.who,
    said.metadata, NULL, about.model, about.version, said.key_id, about.arm
FROM (SELECT
    unnest($id::VARCHAR[]) AS id, unnest($time::TIMESTAMP[]) AS time, unnest($interaction_id::VARCHAR[]) AS interaction_id,
    unnest($conversation_id::VARCHAR[]) AS conversation_id, unnest($type::VARCHAR[]) AS type,
    unnest($value::VARCHAR[]) AS value, unnest($comment::VARCHAR[]) AS comment, unnest($user::VARCHAR[]) AS who,
    unnest($metadata::VARCHAR[]) AS metadata, unnest($key_id::VARCHAR[]) AS key_id,
    unnest(range(len($id::VARCHAR[]))) AS place
) said
LEFT JOIN (
    SELECT id, model, version, arm FROM interactions WHERE id IN (SELECT unnest($interaction_id::VARCHAR[]))
) about ON about.id = said.interaction_id
ORDER BY said.place
ON CONFLICT DO NOTHING RETURNING id, interaction_id, model

-- name: feedback_wait
INSERT INTO feedback_waiting SELECT * FROM (SELECT unnest($interaction_id::VARCHAR[]), unnest($id::VARCHAR[]))

-- name: feedback_awaited
-- Feedback that waited for interactions.
SELECT feedback_id AS id, interaction_id FROM feedback_waiting
WHERE interaction_id IN (SELECT unnest($ids::VARCHAR[]))

-- name: feedback_met
UPDATE feedback SET model = met.model, version = met.version, arm = met.arm FROM (SELECT
    unnest($id::VARCHAR[]) AS id, unnest($model::VARCHAR[]) AS model, unnest($version::INTEGER[]) AS version,
    unnest($arm::VARCHAR[]) AS arm
) met WHERE feedback.id = met.id

-- name: feedback_waits_no_more
DELETE FROM feedback_waiting WHERE feedback_id IN (SELECT unnest($id::VARCHAR[]))

-- name: revocation_add
INSERT INTO revocations
SELECT * FROM (SELECT unnest($feedback_id::VARCHAR[]), unnest($key_id::VARCHAR[]), unnest($time::TIMESTAMP[]))
ON CONFLICT DO NOTHING

-- name: revocations_of
SELECT DISTINCT feedback_id AS id FROM revocations WHERE feedback_id IN (SELECT unnest($ids::VARCHAR[]))

-- name: feedback_apply_revocations
UPDATE feedback SET revoked_at = r.time FROM revocations r
WHERE feedback.id = r.feedback_id AND (r.key_id = '' OR r.key_id = feedback.key_id) AND feedback.revoked_at IS NULL
    AND feedback.id IN (SELECT unnest($id::VARCHAR[]))

-- name: dead_letter_add
INSERT INTO dead_letters VALUES ($spool, $segment, $offset, $time, $reason, $payload)

-- name: dead_letters_count
SELECT count(*) AS n FROM dead_letters
