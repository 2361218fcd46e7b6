-- name: add_file
-- Add an uploaded file.
INSERT INTO uploaded_files VALUES ($id, $time, $filename, $bytes, $model, $actor)

-- name: find_file
-- One uploaded file.
SELECT * FROM uploaded_files WHERE id = $id

-- name: delete_file
-- Delete an uploaded file.
DELETE FROM uploaded_files WHERE id = $id

-- name: set_file_bytes
-- Record the new size of a file.
UPDATE uploaded_files SET bytes = $bytes WHERE id = $id

-- name: files
-- One page of uploaded files, by id, which sorts by time. A $model of NULL means all files.
SELECT * FROM uploaded_files
WHERE ($model IS NULL OR model = $model)
    AND ($after IS NULL OR CASE WHEN $ascending THEN id > $after ELSE id < $after END)
ORDER BY CASE WHEN $ascending THEN id END, id DESC LIMIT $limit

-- name: add_job
-- Add a job, whose file is not yet checked.
INSERT INTO fine_tuning_jobs (id, time, model, file_id, actor, request, state)
VALUES ($id, $time, $model, $file_id, $actor, $request, 'checking')

-- name: find_job
-- One job.
SELECT * FROM fine_tuning_jobs WHERE id = $id

-- name: jobs
-- One page of jobs, newest first, of one model or of all, with this metadata.
SELECT * FROM fine_tuning_jobs
WHERE ($model IS NULL OR model = $model) AND ($after IS NULL OR id < $after)
    AND json_contains(coalesce(request -> '$.metadata', '{}'), $metadata::JSON)
ORDER BY id DESC LIMIT $limit

-- name: pending
-- Jobs whose file is not checked, or whose run is not queued, oldest first.
SELECT * FROM fine_tuning_jobs WHERE state IN ('checking', 'waiting') ORDER BY id

-- name: set_checked
-- Record that the file of a job is valid. The job waits until its model is free.
UPDATE fine_tuning_jobs SET state = 'waiting', checked = $time, examples = $examples WHERE id = $id AND state = 'checking'

-- name: set_run
-- Record the run of a job.
UPDATE fine_tuning_jobs SET state = 'started', run_id = $run_id WHERE id = $id

-- name: end_job
-- End a job that has no run.
UPDATE fine_tuning_jobs SET state = $state, error = $error, finished = $time
WHERE id = $id AND state IN ('checking', 'waiting')

-- name: run_of_trigger
-- The run of a model that was started by this trigger.
SELECT id FROM runs WHERE model = $model AND trigger = $trigger LIMIT 1
