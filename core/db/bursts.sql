-- name: votes
-- The newest votes of a type on a model, of voters who are known and no reviewers. Votes in quarantine are among them:
-- what is usual does not change when votes are held.
SELECT coalesce(f.key_id, '') AS "key", coalesce(nullif(f.user_id, ''), i.user_id) AS voter, epoch(f.time) AS time,
    lower(json_extract_string(f.value, '$')) AS said, f.interaction_id
FROM feedback f LEFT JOIN interactions i ON i.id = f.interaction_id
WHERE f.model = $model AND f.type = $type AND f.revoked_at IS NULL AND f.interaction_id IS NOT NULL
    AND coalesce(nullif(f.user_id, ''), i.user_id, '') <> ''
    AND NOT starts_with(coalesce(nullif(f.user_id, ''), i.user_id), 'reviewer:')
ORDER BY f.time DESC, f.id DESC LIMIT $limit

-- name: texts
-- Requests and answers of the interactions in the table `wanted`.
SELECT i.id AS interaction_id, i.endpoint, i.request::VARCHAR AS request, coalesce(i.answer, '') AS answer
FROM interactions i JOIN wanted w ON w.interaction_id = i.id
