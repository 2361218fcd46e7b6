-- name: head
-- The newest decision's number and hash.
SELECT seq, hash FROM decisions ORDER BY seq DESC LIMIT 1

-- name: hash_at
-- The hash of one decision, by its number.
SELECT hash FROM decisions WHERE seq = $seq

-- name: append
-- Append a decision. Its number is the highest one plus 1. A sequence would leave a gap after a rollback.
INSERT INTO decisions (seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, previous_hash, hash)
VALUES (
    (SELECT coalesce(max(seq), 0) + 1 FROM decisions),
    $id, $time, $model, $from_version, $to_version, $verdict, $reason, $run_id, $body, $previous_hash, $hash
)

-- name: chain
-- The whole ledger with its hashes, oldest first.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, previous_hash, hash
FROM decisions ORDER BY seq

-- name: after
-- Decisions after a number, oldest first, up to a limit.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, previous_hash, hash
FROM decisions WHERE seq > $seq ORDER BY seq LIMIT $limit

-- name: find
-- One decision by its id or number.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, previous_hash, hash
FROM decisions WHERE id = $id OR seq = TRY_CAST($id AS BIGINT)

-- name: of_run
-- Every decision of a run, oldest first.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, hash
FROM decisions WHERE run_id = $run_id ORDER BY seq

-- name: newest_verdict
-- The newest decision of a model with this verdict.
SELECT time, from_version, to_version, body FROM decisions WHERE model = $model AND verdict = $verdict
ORDER BY seq DESC LIMIT 1

-- name: has_reason
-- A row for a decision of a model with this verdict and reason, if there is one.
SELECT 1 FROM decisions WHERE model = $model AND verdict = $verdict AND reason = $reason LIMIT 1

-- name: open_approvals
-- Runs that wait for approval, with the newest decision that asked for it.
SELECT r.id AS run_id, r.model, r.candidate, d.id, d.time, d.from_version FROM runs r
JOIN decisions d ON d.run_id = r.id AND d.verdict = 'awaiting_approval' WHERE r.state = 'awaiting_approval'
QUALIFY row_number() OVER (PARTITION BY r.id ORDER BY d.seq DESC) = 1

-- name: count_by_verdict
-- Number of decisions by model and verdict.
SELECT model, verdict, count(*) AS n FROM decisions GROUP BY ALL

-- name: page
-- Decisions older than $before, newest first. A model, verdict or time of NULL filters nothing.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, hash
FROM decisions
WHERE seq < $before AND ($model IS NULL OR model = $model) AND ($verdict IS NULL OR verdict = $verdict)
    AND ($since IS NULL OR time >= $since) AND ($until IS NULL OR time < $until)
ORDER BY seq DESC LIMIT $limit

-- name: measured
-- The newest decisions of a model that have an evaluation, one per run. A rollback after a holdback has none.
-- A run has at most 5 of these verdicts, so that the query reads at most 5 bodies per row of its result.
WITH newest AS (
    SELECT seq, id, time, from_version, to_version, verdict, run_id, body FROM decisions
    WHERE model = $model AND run_id IS NOT NULL AND to_version IS NOT NULL
        AND verdict IN ('promoted', 'kept', 'inconclusive', 'rolled_back', 'awaiting_approval', 'rejected')
    ORDER BY seq DESC LIMIT 5 * $limit
)
SELECT seq, id, time, from_version, to_version, verdict, body FROM newest
WHERE json_extract_string(body, '$.evidence.primary') IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY seq DESC) = 1
ORDER BY seq DESC LIMIT $limit

-- name: with_lineage
-- The newest decision about a version that has its lineage. Many decisions have only its number.
SELECT id, body FROM decisions
WHERE model = $model AND to_version = $version AND json_extract_string(body, '$.lineage.snapshot') IS NOT NULL
ORDER BY seq DESC LIMIT 1
