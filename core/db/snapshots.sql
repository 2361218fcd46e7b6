-- name: add
-- Add a snapshot, with the report of a run.
INSERT INTO snapshots VALUES ($hash, $model, $run_id, $time, $path, $report) ON CONFLICT DO NOTHING

-- name: set_report
-- Replace the report of a run.
UPDATE snapshots SET report = $report WHERE hash = $hash AND run_id = $run_id

-- name: has_rows
-- Whether a snapshot's rows are stored.
SELECT 1 FROM snapshot_rows WHERE snapshot = $snapshot LIMIT 1

-- name: add_rows
-- Add rows of a snapshot.
INSERT INTO snapshot_rows BY NAME SELECT snapshot, interaction_id, feedback_id, bucket FROM given

-- name: find
-- One snapshot by its hash, with the report of a run. The first run's report, if that run is NULL or has none.
SELECT hash, path, report FROM snapshots WHERE hash = $hash
ORDER BY run_id IS DISTINCT FROM $run_id, time, run_id LIMIT 1

-- name: of_run_or_hash
-- A snapshot by a run's id, by the beginning of its hash, or the newest of a model by its name. Newest report first.
SELECT hash, model, run_id, time, path, report FROM snapshots
WHERE run_id = $identity OR model = $identity OR starts_with(hash, $identity)
ORDER BY run_id = $identity DESC, model = $identity DESC, time DESC, hash LIMIT 1

-- name: newest_report
-- The report of a model's newest snapshot.
SELECT report FROM snapshots WHERE model = $model ORDER BY time DESC, hash LIMIT 1

-- name: learnt_from
-- Those of these interactions that are in the train bucket of a snapshot.
SELECT DISTINCT interaction_id FROM snapshot_rows
WHERE snapshot = $snapshot AND bucket = 'train' AND interaction_id IN (SELECT unnest($ids::VARCHAR[]))

-- name: taken_back
-- Rows of a snapshot's train bucket whose vote was revoked since, or is in quarantine now. `revoked` is NULL for those in
-- quarantine only. A vote on two answers is one row.
SELECT s.feedback_id, min(s.interaction_id) AS interaction_id, f.type, f.revoked_at AS revoked
FROM snapshot_rows s JOIN feedback f ON f.id = s.feedback_id
WHERE s.snapshot = $snapshot AND s.bucket = 'train'
    AND (f.revoked_at IS NOT NULL OR f.id IN (FROM quarantined_feedback))
GROUP BY ALL ORDER BY revoked, s.feedback_id

-- name: folders
-- The folder of every snapshot.
SELECT DISTINCT path FROM snapshots ORDER BY path

-- name: move_folders
-- Set the parent folder of all snapshots, after a restore.
UPDATE snapshots SET path = $folder || '/' || regexp_extract(path, '[^/]+$')
