-- name: asked
-- Answered requests of a model since a moment whose user is named, and those users. DuckDB skips older blocks.
SELECT count(*) AS requests, count(DISTINCT user_id) AS users FROM interactions
WHERE time >= $since AND model = $model AND status = 200 AND user_id IS NOT NULL

-- name: said
-- Answers of a model with a thumb and with a label since a moment, thumbs, and those that are up.
SELECT count(DISTINCT interaction_id) FILTER (WHERE type = 'thumbs') AS thumbed,
    count(DISTINCT interaction_id) FILTER (WHERE type = 'label') AS labelled,
    count(*) FILTER (WHERE type = 'thumbs') AS thumbs,
    count(*) FILTER (WHERE type = 'thumbs' AND value::VARCHAR = 'true') AS up
FROM feedback WHERE time >= $since AND model = $model AND type IN ('thumbs', 'label') AND revoked_at IS NULL
