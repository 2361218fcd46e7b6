-- name: holdback_add
INSERT INTO holdbacks (run_id, model, promoted, held, share, score_sd, started, until, plan)
VALUES ($run_id, $model, $promoted, $held, $share, $score_sd, $started, $until, $plan)

-- name: holdbacks_open
SELECT run_id, model, promoted, held, share, score_sd, started, until, plan FROM holdbacks WHERE finished IS NULL
ORDER BY started

-- name: holdback_of
-- The holdback of a model that is under way, with its newest numbers.
SELECT run_id, promoted, held, share, started, until, looked, numbers FROM holdbacks
WHERE model = $model AND finished IS NULL

-- name: holdback_look
UPDATE holdbacks SET looked = $time, numbers = $numbers WHERE run_id = $run_id

-- name: holdback_close
UPDATE holdbacks SET finished = $time WHERE model = $model AND finished IS NULL

-- name: arm_latency
-- Milliseconds of answered requests by version, as the split sent them.
SELECT version, quantile_cont(latency_ms, 0.5) AS p50_ms, quantile_cont(latency_ms, 0.95) AS p95_ms FROM interactions
WHERE model = $model AND version IN ($old, $new) AND time >= $since AND bucket IS NOT NULL AND status < 500
GROUP BY version

-- name: ledger_newest_verdict
SELECT time, from_version, to_version, body FROM decisions WHERE model = $model AND verdict = $verdict
ORDER BY seq DESC LIMIT 1

-- name: ledger_said
-- Whether the ledger has a row of this verdict and reason.
SELECT 1 FROM decisions WHERE model = $model AND verdict = $verdict AND reason = $reason LIMIT 1

-- name: approvals_open
-- Runs that wait for a person, with the newest decision that asked for one.
SELECT r.id AS run_id, r.model, r.candidate, d.id, d.time, d.from_version FROM runs r
JOIN decisions d ON d.run_id = r.id AND d.verdict = 'awaiting_approval' WHERE r.state = 'awaiting_approval'
QUALIFY row_number() OVER (PARTITION BY r.id ORDER BY d.seq DESC) = 1
