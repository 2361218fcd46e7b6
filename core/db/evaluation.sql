-- name: holdout_uses
SELECT bucket, max(use) AS uses FROM holdout_uses WHERE model = $model GROUP BY bucket

-- name: holdout_use_add
INSERT INTO holdout_uses VALUES ($model, $bucket, $run_id, $use)

-- name: holdout_use_of
SELECT bucket, use FROM holdout_uses WHERE run_id = $run_id

-- name: holdout_users_of
SELECT holdout, "user" FROM holdout_users WHERE model = $model

-- name: holdout_users_add
INSERT INTO holdout_users SELECT $model, $holdout, unnest($users::VARCHAR[]) ON CONFLICT DO NOTHING

-- name: evaluation_add
INSERT INTO evaluations SELECT * FROM (SELECT
    unnest($run_id::VARCHAR[]), unnest($model::VARCHAR[]), unnest($suite::VARCHAR[]), unnest($arm::VARCHAR[]),
    unnest($version::INTEGER[]), unnest($kpi::VARCHAR[]), unnest($value::DOUBLE[]), unnest($low::DOUBLE[]),
    unnest($high::DOUBLE[]), unnest($n::INTEGER[]), unnest($users::INTEGER[])
)

-- name: answers_known
SELECT key, answer FROM answers WHERE key IN (SELECT unnest($keys::VARCHAR[]))

-- name: answers_keep
-- The same question may be asked by two runs at once; the first answer stands.
INSERT INTO answers
SELECT * FROM (SELECT unnest($keys::VARCHAR[]), $time, unnest($names::VARCHAR[]), unnest($answers::VARCHAR[]))
ON CONFLICT DO NOTHING

-- name: answers_prune
DELETE FROM answers WHERE time < $before

-- name: evaluations_of
-- Each KPI by arm; what is no number is NULL, for JSON has none such.
SELECT suite, arm, version, kpi, CASE WHEN isfinite(value) THEN value END AS value,
    CASE WHEN isfinite(low) THEN low END AS low, CASE WHEN isfinite(high) THEN high END AS high, n, users
FROM evaluations WHERE run_id = $run_id
ORDER BY suite, kpi, arm

-- name: regression_add
-- An evaluation that was cut short finds the same ones again.
INSERT OR REPLACE INTO regressions
VALUES ($run_id, $place, $interaction_id, $kpi, $wanted, $champion, $candidate, $loss)
