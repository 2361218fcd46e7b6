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
-- The number of a decision by its id or number. With its body, it would read those of all decisions.
SELECT seq FROM decisions WHERE id = $id OR seq = TRY_CAST($id AS BIGINT)

-- name: of_run
-- Every decision of a run, oldest first.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, hash
FROM decisions WHERE run_id = $run_id ORDER BY seq

-- name: of_runs
-- The decisions of these runs, oldest first. Without bodies, which are long.
SELECT seq, id, time, model, from_version, to_version, verdict, run_id FROM decisions WHERE run_id IN ($ids) ORDER BY seq

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

-- name: by_numbers
-- Decisions by their numbers.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, previous_hash, hash FROM decisions
WHERE seq IN ($ids)

-- name: page
-- Numbers of decisions older than $before, newest first. A model, verdict or time of NULL filters nothing. With bodies, it
-- would read those of all decisions.
SELECT seq FROM decisions
WHERE seq < $before AND ($model IS NULL OR model = $model) AND ($verdict IS NULL OR verdict = $verdict)
    AND ($since IS NULL OR time >= $since) AND ($until IS NULL OR time < $until)
ORDER BY seq DESC LIMIT $limit

-- name: of_newest_runs
-- Numbers of the decisions that can have an evaluation, of the newest $limit runs of each of these models, newest first. With
-- bodies, it would read those of all decisions.
WITH judged AS MATERIALIZED (
    SELECT model, seq, run_id FROM decisions
    WHERE model IN (SELECT unnest($models::VARCHAR[])) AND run_id IS NOT NULL AND to_version IS NOT NULL
        AND verdict IN ('promoted', 'kept', 'inconclusive', 'rolled_back', 'awaiting_approval', 'rejected')
)
SELECT j.seq FROM judged j SEMI JOIN (
    SELECT run_id FROM judged GROUP BY model, run_id
    QUALIFY row_number() OVER (PARTITION BY model ORDER BY max(seq) DESC) <= $limit
) n ON n.run_id = j.run_id ORDER BY j.seq DESC

-- name: of_version
-- Numbers of the decisions about a version.
SELECT seq FROM decisions WHERE model = $model AND to_version = $version
