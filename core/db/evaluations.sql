-- name: holdout_uses
-- How often each holdout of a model was used.
SELECT bucket, max(use) AS uses FROM holdout_uses WHERE model = $model GROUP BY bucket

-- name: add_holdout_use
-- Add a use of a holdout.
INSERT INTO holdout_uses VALUES ($model, $bucket, $run_id, $use)

-- name: holdout_use
-- The use of a holdout by one run.
SELECT bucket, use FROM holdout_uses WHERE run_id = $run_id

-- name: holdout_users
-- Users of every generation of a model's holdouts.
SELECT holdout, "user" FROM holdout_users WHERE model = $model

-- name: add_holdout_users
-- Add the users of a generation of a holdout.
INSERT INTO holdout_users SELECT $model, $holdout, unnest($users::VARCHAR[]) ON CONFLICT DO NOTHING

-- name: add
-- Add rows of an evaluation: one KPI of one arm on one suite each.
INSERT INTO evaluations SELECT * FROM (SELECT
    unnest($run_id::VARCHAR[]), unnest($model::VARCHAR[]), unnest($suite::VARCHAR[]), unnest($arm::VARCHAR[]),
    unnest($version::INTEGER[]), unnest($kpi::VARCHAR[]), unnest($value::DOUBLE[]), unnest($low::DOUBLE[]),
    unnest($high::DOUBLE[]), unnest($n::INTEGER[]), unnest($users::INTEGER[])
)

-- name: known_answers
-- Stored answers of an evaluation's queries.
SELECT key, answer FROM answers WHERE key IN ($ids)

-- name: add_answers
-- Store answers that are not stored. ON CONFLICT would scan the table.
INSERT INTO answers BY NAME SELECT * FROM given

-- name: of_run
-- Each KPI of a run by arm. NaN and infinity become NULL, because JSON has neither.
SELECT suite, arm, version, kpi, CASE WHEN isfinite(value) THEN value END AS value,
    CASE WHEN isfinite(low) THEN low END AS low, CASE WHEN isfinite(high) THEN high END AS high, n, users
FROM evaluations WHERE run_id = $run_id
ORDER BY suite, kpi, arm

-- name: add_regression
-- Add the items on which a candidate did worst. An evaluation that was interrupted replaces them.
INSERT OR REPLACE INTO regressions
VALUES ($run_id, $place, $interaction_id, $kpi, $wanted, $champion, $candidate, $loss)

-- name: regressions
-- The items on which a run's candidate did worst against the champion. Each has the request of its interaction and the
-- users' newest correction.
SELECT r.place, r.interaction_id, r.kpi, r.wanted, r.champion, r.candidate, r.loss, i.endpoint, i.request,
    (SELECT max_by(f.value, f.time) FROM feedback f
     WHERE f.interaction_id = r.interaction_id AND f.type = 'correction' AND f.revoked_at IS NULL) AS correction
FROM regressions r JOIN interactions i ON i.id = r.interaction_id WHERE r.run_id = $run_id ORDER BY r.place
