-- name: labels
-- The last label of each reviewer on each of a model's answers since a moment, newest first. Labels that were taken back or
-- are in quarantine do not count. DuckDB skips older blocks of the table by $since.
SELECT interaction_id, user_id, arg_max(value::VARCHAR, (time, arrived, id)) AS value, max(time) AS newest,
    bool_or(json_extract_string(metadata, '$.source') = 'console' AND json_extract_string(metadata, '$.drawn') = 'random')
        AS is_drawn
FROM feedback
WHERE model = $model AND time >= $since AND type = 'label' AND starts_with(user_id, 'reviewer:')
    AND interaction_id IS NOT NULL AND coalesce(choice, 0) = 0 AND id NOT IN (FROM quarantined_feedback)
GROUP BY interaction_id, user_id HAVING arg_max(revoked_at IS NULL, (time, arrived, id))
ORDER BY newest DESC, interaction_id, user_id LIMIT $limit

-- name: reviewers
-- Who reviewed these answers, without labels that were taken back.
SELECT DISTINCT interaction_id, user_id FROM feedback
WHERE interaction_id IN ($ids) AND type = 'label' AND starts_with(user_id, 'reviewer:') AND revoked_at IS NULL
