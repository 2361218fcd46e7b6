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
WHERE interaction_id IN ($ids) AND type IN ('label', 'correction') AND starts_with(user_id, 'reviewer:') AND revoked_at IS NULL

-- name: oldest_of_newest
-- The time of the oldest of the newest $window votes on a model's answers since a moment.
SELECT min(time) AS time FROM (
    SELECT time FROM feedback
    WHERE model = $model AND time >= $since AND revoked_at IS NULL AND interaction_id IS NOT NULL
        AND type IN ('thumbs', 'label', 'correction', 'flag') ORDER BY time DESC LIMIT $window
)

-- name: answers_in_doubt
-- Interactions whose votes since a moment are negative or contradict each other, most doubtful first, without those that
-- $reviewers reviewers have answered, or this $reviewer. What reviewers said makes no answer doubtful. `rank` 1: the votes
-- contradict each other. `rank` 2: a thumbs-down or a flag, and no label.
WITH votes AS (
    SELECT interaction_id, type, value::VARCHAR AS value, time, user_id, starts_with(coalesce(user_id, ''), 'reviewer:')
        AND type IN ('label', 'correction') AS is_review FROM feedback
    WHERE model = $model AND time >= $since AND revoked_at IS NULL AND interaction_id IS NOT NULL
        AND type IN ('thumbs', 'label', 'correction', 'flag')
), counted AS (
    SELECT interaction_id, max(time) AS newest,
        count(*) FILTER (WHERE type = 'thumbs' AND value = 'true') AS up,
        count(*) FILTER (WHERE type = 'thumbs' AND value = 'false') AS down,
        count(*) FILTER (WHERE type = 'flag') AS flags,
        count(DISTINCT lower(value)) FILTER (WHERE type = 'label' AND NOT is_review) AS labels,
        count(*) FILTER (WHERE type = 'correction' AND NOT is_review) AS corrections,
        bool_or(is_review AND user_id IS NOT DISTINCT FROM $reviewer)
            OR count(DISTINCT user_id) FILTER (WHERE is_review) >= $reviewers AS reviewed
    FROM votes GROUP BY interaction_id
)
SELECT interaction_id, newest, up, down, flags, labels, corrections,
    CASE WHEN labels > 1 OR (up > 0 AND down > 0) THEN 1 ELSE 2 END AS rank
FROM counted
WHERE NOT reviewed AND (labels > 1 OR (up > 0 AND down > 0) OR (down + flags > 0 AND labels + corrections = 0))
ORDER BY rank, greatest(labels - 1, 0) + least(up, down) + down + flags DESC, newest DESC, interaction_id LIMIT $limit
