-- name: ledger_head
SELECT seq, hash FROM decisions ORDER BY seq DESC LIMIT 1

-- name: ledger_append
-- The number follows from the rows that stand, not from a sequence: a transaction that was undone leaves no gap.
INSERT INTO decisions (seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, previous_hash, hash)
VALUES (
    (SELECT coalesce(max(seq), 0) + 1 FROM decisions),
    $id, $time, $model, $from_version, $to_version, $verdict, $reason, $run_id, $body, $previous_hash, $hash
)

-- name: ledger_chain
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, previous_hash, hash
FROM decisions ORDER BY seq

-- name: ledger_after
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, previous_hash, hash
FROM decisions WHERE seq > $seq ORDER BY seq LIMIT $limit

-- name: ledger_row
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, previous_hash, hash
FROM decisions WHERE id = $id OR seq = TRY_CAST($id AS BIGINT)

-- name: ledger_of_run
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, hash
FROM decisions WHERE run_id = $run_id ORDER BY seq
