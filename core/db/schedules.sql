-- name: find
-- When the cron line of a model is due next.
SELECT line, due FROM schedules WHERE model = $model

-- name: put
-- Record when the cron line of a model is due next.
INSERT OR REPLACE INTO schedules (model, line, due) VALUES ($model, $line, $due)
