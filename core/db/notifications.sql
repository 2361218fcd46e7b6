-- name: position
-- How far a notification target is in the ledger.
SELECT seq, time FROM notified WHERE target = $target

-- name: set_position
-- Record how far a notification target is in the ledger.
INSERT INTO notified VALUES ($target, $seq, $time)
ON CONFLICT (target) DO UPDATE SET seq = excluded.seq, time = excluded.time

-- name: pending
-- Decisions that a notification target has not received, oldest first.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, hash
FROM decisions WHERE seq > $seq ORDER BY seq LIMIT 100
