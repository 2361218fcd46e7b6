-- name: holdout_uses
SELECT bucket, max(use) AS uses FROM holdout_uses WHERE model = $model GROUP BY bucket

-- name: holdout_use_add
INSERT INTO holdout_uses VALUES ($model, $bucket, $run_id, $use)

-- name: evaluation_add
INSERT INTO evaluations
VALUES ($run_id, $model, $suite, $arm, $version, $kpi, $value, $low, $high, $n, $users)
