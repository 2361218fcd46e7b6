-- name: notified_get
SELECT seq, time FROM notified WHERE target = $target

-- name: notified_set
INSERT INTO notified VALUES ($target, $seq, $time)
ON CONFLICT (target) DO UPDATE SET seq = excluded.seq, time = excluded.time

-- name: ledger_to_tell
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, hash
FROM decisions WHERE seq > $seq ORDER BY seq LIMIT 100
