-- name: head
-- The newest decision's number and hash.
SELECT seq, hash FROM decisions ORDER BY seq DESC LIMIT 1

-- name: append
-- The number follows from the rows that stand, not from a sequence: a transaction that was undone leaves no gap.
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
-- Whether the ledger has a row of this verdict and reason.
SELECT 1 FROM decisions WHERE model = $model AND verdict = $verdict AND reason = $reason LIMIT 1

-- name: open_approvals
-- Runs that wait for a person, with the newest decision that asked for one.
SELECT r.id AS run_id, r.model, r.candidate, d.id, d.time, d.from_version FROM runs r
JOIN decisions d ON d.run_id = r.id AND d.verdict = 'awaiting_approval' WHERE r.state = 'awaiting_approval'
QUALIFY row_number() OVER (PARTITION BY r.id ORDER BY d.seq DESC) = 1

-- name: count_by_verdict
-- Number of decisions by model and verdict.
SELECT model, verdict, count(*) AS n FROM decisions GROUP BY ALL

-- name: page
-- Decisions older than $before, newest first, by any of model, verdict and time; NULL leaves that open.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, hash
FROM decisions
WHERE seq < $before AND ($model IS NULL OR model = $model) AND ($verdict IS NULL OR verdict = $verdict)
    AND ($since IS NULL OR time >= $since) AND ($until IS NULL OR time < $until)
ORDER BY seq DESC LIMIT $limit

-- name: measured
-- The newest decisions of a model that hold an evaluation, one a run; a rollback after a holdback holds none. A run has
-- at most five of these verdicts, so that only so many bodies are read.
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
-- The newest decision about a version that says what it was made of; many only name it.
SELECT id, body FROM decisions
WHERE model = $model AND to_version = $version AND json_extract_string(body, '$.lineage.snapshot') IS NOT NULL
ORDER BY seq DESC LIMIT 1
