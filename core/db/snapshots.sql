-- name: label_votes
-- Labels, corrections and thumbs that stand, with the request and answer that they are about, oldest first.
SELECT f.id, f.type, f.value, i.answer, coalesce(f.user_id, '') AS voter, i.id AS interaction_id, i.user_id, i.conversation_id,
    i.endpoint, i.request, f.id IN (
        SELECT q.feedback_id FROM quarantine_rows q JOIN quarantines b ON b.id = q.quarantine_id
        WHERE b.state <> 'released'
    ) AS quarantined
FROM feedback f JOIN interactions i ON i.id = f.interaction_id
WHERE i.model = $model AND f.type IN ('label', 'correction', 'thumbs') AND f.revoked_at IS NULL
ORDER BY f.time, f.id

-- name: preference_votes
-- Preferences that stand, with requests and answers of both interactions, oldest first.
SELECT f.id, coalesce(f.user_id, '') AS voter,
    c.id AS chosen_id, c.user_id, c.conversation_id, c.endpoint AS chosen_endpoint, c.request AS chosen_request,
    c.answer AS chosen_answer,
    r.id AS rejected_id, r.user_id AS rejected_user_id, r.endpoint AS rejected_endpoint, r.request AS rejected_request,
    r.answer AS rejected_answer, f.id IN (
        SELECT q.feedback_id FROM quarantine_rows q JOIN quarantines b ON b.id = q.quarantine_id
        WHERE b.state <> 'released'
    ) AS quarantined
FROM feedback f
JOIN interactions c ON c.id = json_extract_string(f.value, '$.chosen') AND c.model = $model
JOIN interactions r ON r.id = json_extract_string(f.value, '$.rejected') AND r.model = $model
WHERE f.type = 'preference' AND f.revoked_at IS NULL
ORDER BY f.time, f.id

-- name: feedback_by_type
SELECT type, count(*) AS n FROM feedback WHERE model = $model AND revoked_at IS NULL GROUP BY type

-- name: snapshot_add
INSERT INTO snapshots VALUES ($hash, $model, $run_id, $time, $path, $report) ON CONFLICT DO NOTHING

-- name: snapshot_has_rows
SELECT 1 FROM snapshot_rows WHERE snapshot = $snapshot LIMIT 1

-- name: snapshot_row_add
INSERT INTO snapshot_rows SELECT * FROM (SELECT
    unnest($snapshot::VARCHAR[]), unnest($interaction_id::VARCHAR[]), unnest($feedback_id::VARCHAR[]),
    unnest($bucket::VARCHAR[])
)

-- name: snapshot_get
SELECT hash, path, report FROM snapshots WHERE hash = $hash LIMIT 1

-- name: snapshot_folders
SELECT DISTINCT path FROM snapshots ORDER BY path

-- name: snapshots_move
UPDATE snapshots SET path = $folder || '/' || regexp_extract(path, '[^/]+$')
