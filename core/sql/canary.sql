-- name: canary_add
INSERT INTO canaries
VALUES ($run_id, $model, $control, $candidate, $share, $started, NULL, $score_sd, $plan, $decision)

-- name: canaries_open
SELECT run_id, model, control, candidate, share, started, score_sd, decision FROM canaries WHERE finished IS NULL

-- name: canary_close
UPDATE canaries SET finished = $time WHERE run_id = $run_id

-- name: canary_last_look
SELECT look, body FROM canary_looks WHERE run_id = $run_id ORDER BY look DESC LIMIT 1

-- name: canary_look_add
INSERT INTO canary_looks VALUES ($run_id, $look, $time, $verdict, $reason, $body)

-- name: canary_looks_of
SELECT look, time, verdict, reason, body FROM canary_looks WHERE run_id = $run_id ORDER BY look

-- name: canary_arms
-- By version: users, and over users the mean score, its deviation, the share of rated requests, users harmed.
-- A request without thumbs counts 0: leaving it out would undo the randomisation.
WITH thumbs AS (
    SELECT interaction_id, CASE WHEN arg_max(value, time)::VARCHAR = 'true' THEN 1 ELSE -1 END AS score
    FROM feedback WHERE type = 'thumbs' AND revoked_at IS NULL AND interaction_id IS NOT NULL GROUP BY interaction_id
), flags AS (
    SELECT DISTINCT interaction_id FROM feedback
    WHERE type = 'flag' AND value::VARCHAR IN ('"unsafe"', '"hallucination"') AND revoked_at IS NULL
), users AS (
    SELECT i.version, coalesce(i.user_id, i.conversation_id) AS who, count(*) AS requests,
        avg(coalesce(t.score, 0)) AS score,
        avg(CASE WHEN t.score IS NULL THEN 0 ELSE 1 END) AS rate,
        bool_or(i.status >= 500 OR f.interaction_id IS NOT NULL) AS harmed
    FROM interactions i
    LEFT JOIN thumbs t ON t.interaction_id = i.id
    LEFT JOIN flags f ON f.interaction_id = i.id
    WHERE i.model = $model AND i.version IN ($control, $candidate) AND i.time >= $since AND i.bucket IS NOT NULL
    GROUP BY ALL
)
SELECT version, count(*) AS users, sum(requests)::BIGINT AS requests, avg(score) AS score_mean,
    stddev_samp(score) AS score_sd, avg(rate) AS rate_mean, stddev_samp(rate) AS rate_sd,
    count(*) FILTER (WHERE harmed) AS harmed
FROM users GROUP BY version

-- name: score_history
WITH thumbs AS (
    SELECT interaction_id, CASE WHEN arg_max(value, time)::VARCHAR = 'true' THEN 1 ELSE -1 END AS score
    FROM feedback WHERE type = 'thumbs' AND revoked_at IS NULL AND interaction_id IS NOT NULL GROUP BY interaction_id
), users AS (
    SELECT coalesce(i.user_id, i.conversation_id) AS who, avg(coalesce(t.score, 0)) AS score
    FROM interactions i LEFT JOIN thumbs t ON t.interaction_id = i.id
    WHERE i.model = $model AND i.time < $before AND i.time >= $before - INTERVAL 30 DAY AND i.bucket IS NOT NULL
    GROUP BY ALL
)
SELECT count(*) AS users, stddev_samp(score) AS sd FROM users

-- name: run_add
INSERT INTO runs VALUES ($id, $model, $trigger, $state, $started, NULL, $feedback_until, NULL, NULL, NULL, '{}')

-- name: run_state
-- A state that ends a run also sets when it finished.
UPDATE runs SET state = $state, reason = coalesce($reason, reason),
    finished = CASE WHEN $state IN ('finished', 'failed', 'skipped') THEN $time ELSE NULL END
WHERE id = $id

-- name: run_snapshot
UPDATE runs SET snapshot = $snapshot WHERE id = $id

-- name: run_candidate
UPDATE runs SET candidate = $candidate, state = 'evaluating' WHERE id = $id

-- name: run_detail
UPDATE runs SET detail = $detail WHERE id = $id

-- name: runs_open
SELECT id, model, state FROM runs WHERE finished IS NULL

-- name: run_open_of
SELECT id, state FROM runs WHERE model = $model AND finished IS NULL LIMIT 1

-- name: run_get
SELECT * FROM runs WHERE id = $id

-- name: runs_newest
SELECT id, model, trigger, state, started, finished, snapshot, candidate, reason FROM runs
WHERE $model IS NULL OR model = $model ORDER BY started DESC LIMIT $limit

-- name: run_metric_add
INSERT INTO run_metrics VALUES ($run_id, $time, $phase, $done, $total, $metrics)

-- name: run_metrics_of
SELECT time, phase, done, total, metrics FROM run_metrics WHERE run_id = $run_id ORDER BY time

-- name: feedback_since
-- Feedback that came since the last run of the model looked.
SELECT count(*) AS n, max(time) AS newest FROM feedback
WHERE model = $model AND revoked_at IS NULL AND time > coalesce(
    (SELECT max(feedback_until) FROM runs WHERE model = $model), TIMESTAMP '1970-01-01')
