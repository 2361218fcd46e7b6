-- name: add
-- Add a run.
INSERT INTO runs (id, model, trigger, state, started, feedback_until, detail)
VALUES ($id, $model, $trigger, $state, $started, $feedback_until, '{}')

-- name: set_actor
-- Record who started a run, and their comment.
UPDATE runs SET actor = $actor, comment = $comment WHERE id = $id

-- name: set_state
-- Set a run's state, and its reason if one is given. A state that ends the run sets its end time.
UPDATE runs SET state = $state, reason = coalesce($reason, reason),
    finished = CASE WHEN $state IN ('finished', 'failed', 'skipped', 'measured', 'cancelled') THEN $time ELSE NULL END
WHERE id = $id

-- name: set_feedback_until
-- Record the latest arrival of feedback that a run may use.
UPDATE runs SET feedback_until = $feedback_until WHERE id = $id

-- name: set_snapshot
-- Record the snapshot that a run uses.
UPDATE runs SET snapshot = $snapshot WHERE id = $id

-- name: set_candidate
-- Record the candidate of a run, which begins its evaluation.
UPDATE runs SET candidate = $candidate, state = 'evaluating' WHERE id = $id

-- name: set_measured_version
-- Record the version whose suites a run measures.
UPDATE runs SET candidate = $candidate WHERE id = $id

-- name: set_detail
-- Replace the details that are kept with a run.
UPDATE runs SET detail = $detail WHERE id = $id

-- name: unfinished
-- Every run that has not ended.
SELECT id, model, state, trigger, actor, comment, detail FROM runs WHERE finished IS NULL

-- name: unfinished_of
-- The run of a model that has not ended.
SELECT id, state FROM runs WHERE model = $model AND finished IS NULL LIMIT 1

-- name: waiting_to_switch
-- Runs whose candidate passed a gate and does not serve everyone yet, oldest first.
SELECT id, candidate FROM runs WHERE model = $model AND state IN ('canary', 'awaiting_approval') ORDER BY started

-- name: last_finished
-- The newest run of a model that a gate has judged to its end.
SELECT id, snapshot, detail FROM runs WHERE model = $model AND state = 'finished' AND candidate IS NOT NULL
ORDER BY finished DESC, id DESC LIMIT 1

-- name: find
-- One run by its id.
SELECT * FROM runs WHERE id = $id

-- name: begun
-- When these runs began and ended, and when their candidate was made.
SELECT r.id, r.started, r.finished, r.state, r.candidate, v.time AS made FROM runs r
LEFT JOIN versions v ON v.model = r.model AND v.version = r.candidate AND v.run_id = r.id WHERE r.id IN ($ids)

-- name: newest
-- The newest runs before ($before, $before_id), of one model or of all.
SELECT id, model, trigger, state, started, finished, snapshot, candidate, reason FROM runs
WHERE ($model IS NULL OR model = $model)
    AND ($before IS NULL OR started < $before OR (started = $before AND id < $before_id))
ORDER BY started DESC, id DESC LIMIT $limit

-- name: add_metric
-- Add the progress of a run's phase, with its metrics.
INSERT INTO run_metrics VALUES ($run_id, $time, $phase, $done, $total, $metrics)

-- name: metrics
-- Every metric of a run, oldest first. Of each trial of its search, only the first and the last.
SELECT time, phase, done, total, metrics FROM run_metrics WHERE run_id = $run_id
QUALIFY phase NOT LIKE 'trial %' OR row_number() OVER (PARTITION BY phase ORDER BY time, done) = 1
    OR row_number() OVER (PARTITION BY phase ORDER BY time DESC, done DESC) = 1
ORDER BY time

-- name: progress
-- The last step of each of these runs, with its metrics.
SELECT run_id, phase, done, total, metrics FROM run_metrics WHERE run_id IN (SELECT unnest($runs::VARCHAR[]))
QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY time DESC) = 1

-- name: step_seconds
-- The median seconds between two training steps of the newest run of a model that trained, or of any model.
WITH steps AS (
    SELECT m.run_id, r.model, r.started, epoch(m.time - lag(m.time) OVER (PARTITION BY m.run_id ORDER BY m.time)) AS s
    FROM run_metrics m JOIN runs r ON r.id = m.run_id WHERE m.phase = 'training'
)
SELECT median(s) AS seconds FROM steps WHERE s IS NOT NULL GROUP BY run_id, model, started
ORDER BY model = $model DESC, started DESC LIMIT 1

-- name: last_curve_rows
-- The train rows of the newest learning curve of a model by a method that has a gain.
SELECT CAST(json_extract_string(detail, '$.learning_curve.rows') AS BIGINT) AS rows FROM runs
WHERE model = $model AND json_extract_string(detail, '$.learning_curve.method') = $method
    AND json_extract_string(detail, '$.learning_curve.gain.value') IS NOT NULL
ORDER BY started DESC, id DESC LIMIT 1

-- name: training_seconds
-- Duration of the newest training of each model in seconds; of a running one, the seconds so far. A model whose newest $runs
-- runs made no training has none. DuckDB skips the steps of older runs.
WITH newest AS (
    SELECT id, model, started FROM runs
    QUALIFY row_number() OVER (PARTITION BY model ORDER BY started DESC, id DESC) <= $runs
), trained AS (
    SELECT r.model, r.started, max(CAST(json_extract_string(m.metrics, '$.seconds') AS DOUBLE)) AS seconds
    FROM run_metrics m JOIN newest r ON r.id = m.run_id
    WHERE m.phase = 'training' AND m.time >= (SELECT min(started) FROM newest) GROUP BY r.id, r.model, r.started
)
SELECT model, arg_max(seconds, started) AS seconds FROM trained WHERE seconds IS NOT NULL GROUP BY model

-- name: trainings
-- Number of trainings of each model that made a step since a moment, and their duration in seconds.
SELECT r.model, count(*) AS trainings, coalesce(sum(t.seconds), 0) AS seconds FROM (
    SELECT run_id, max(CAST(json_extract_string(metrics, '$.seconds') AS DOUBLE)) AS seconds FROM run_metrics
    WHERE phase = 'training' AND time >= $since GROUP BY run_id
) t JOIN runs r ON r.id = t.run_id GROUP BY r.model

-- name: newest_feedback_until
-- The latest arrival of feedback that a run of each of these models has used.
SELECT model, max(feedback_until) AS until FROM runs WHERE model IN (SELECT unnest($models::VARCHAR[])) GROUP BY model
