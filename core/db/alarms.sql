-- name: open
-- Every alarm that has not ended.
SELECT name, subject, model, sentence, fix, since, opened, sent FROM alarms ORDER BY since, name, subject

-- name: clear
-- Delete every open alarm, to replace them.
DELETE FROM alarms

-- name: add
-- Add open alarms.
INSERT INTO alarms VALUES ($name, $subject, $model, $sentence, $fix, $since, $opened, $sent)

-- name: events
-- The kept events, oldest first.
SELECT seq, id, time, change, name, subject, model, sentence, fix, since FROM alarm_events ORDER BY seq

-- name: add_event
-- Add an event.
INSERT INTO alarm_events VALUES ($seq, $id, $time, $change, $name, $subject, $model, $sentence, $fix, $since)

-- name: trim_events
-- Delete all but the newest events.
DELETE FROM alarm_events
WHERE seq NOT IN (SELECT seq FROM alarm_events ORDER BY seq DESC LIMIT $kept)

-- name: silences
-- Every silence that has not ended.
SELECT name, subject, until, actor, comment FROM alarm_silences WHERE until > $now ORDER BY until, name

-- name: end_silence
-- End the silence of an alarm and a subject, or all of an alarm, and delete those that ended.
DELETE FROM alarm_silences
WHERE until <= $now OR (name = $alarm AND ($all_subjects OR subject IS NOT DISTINCT FROM $subject))

-- name: add_silence
-- Add a silence.
INSERT INTO alarm_silences VALUES ($name, $subject, $until, $actor, $comment)

-- name: newest_backup
-- Time of the newest backup. NULL before the first.
SELECT max(time) AS time FROM backups

-- name: backup_failure
-- The newest backup that failed.
SELECT time, reason FROM backup_failures ORDER BY time DESC LIMIT 1

-- name: forget_backup_failures
-- Delete what is known of failed backups.
DELETE FROM backup_failures

-- name: add_backup_failure
-- Record that a backup failed, and why.
INSERT INTO backup_failures VALUES ($time, $reason)

-- name: canaries
-- Every running canary with the state of its run and its newest interim analysis, oldest first.
SELECT c.run_id, c.model, c.candidate, c.share, c.score_sd, c.plan, c.started, c.paused, c.looked, c.numbers, r.state FROM canaries c JOIN runs r ON r.id = c.run_id
WHERE c.finished IS NULL ORDER BY c.started

-- name: idle_since
-- Time of the oldest analysis after which the canary's number of requests never changed. NULL before the first.
SELECT min(time) AS time FROM canary_looks
WHERE run_id = $run_id AND time >= $started AND look > coalesce((
    SELECT max(look) FROM canary_looks
    WHERE run_id = $run_id AND time >= $started
        AND CAST(body ->> '$.canary.requests' AS BIGINT) IS DISTINCT FROM $requests
), 0)

-- name: ended_runs
-- The newest ended runs of each model, newest first. Runs that a person cancelled and measurements are left out.
SELECT id, model, state, finished FROM runs WHERE finished IS NOT NULL AND state IN ('finished', 'skipped', 'failed')
QUALIFY row_number() OVER (PARTITION BY model ORDER BY finished DESC, id DESC) <= $limit
ORDER BY model, finished DESC, id DESC
