-- name: add_run
-- Add a deletion by age.
INSERT INTO retention_runs VALUES ($id, $time, NULL, $state, $actor, $comment, '{}')

-- name: set_run
-- Set the state of a deletion, and what it has deleted so far.
UPDATE retention_runs SET state = $state, deleted = $deleted, finished = $finished WHERE id = $id

-- name: run
-- One deletion by age.
SELECT * FROM retention_runs WHERE id = $id

-- name: newest_runs
-- Deletions by age, newest first.
SELECT * FROM retention_runs WHERE state <> 'announced' ORDER BY started DESC, id DESC LIMIT $limit

-- name: interrupt
-- Record that deletions ended with their process.
UPDATE retention_runs SET state = 'failed', finished = $time WHERE state IN ('queued', 'deleting', 'rewriting')

-- name: announced
-- When the schedule was announced.
SELECT started FROM retention_runs WHERE state = 'announced'

-- name: last_rewrite
-- When a deletion last rewrote the store's file.
SELECT max(finished) AS time FROM retention_runs WHERE state = 'done' AND json_extract(deleted, '$.rewritten')::BOOLEAN

-- name: live_since
-- When the oldest open canary or holdback began. NULL if there is none.
SELECT least(
    (SELECT min(started) FROM canaries WHERE finished IS NULL),
    (SELECT min(started) FROM holdbacks WHERE finished IS NULL)
) AS time

-- name: texts_found
-- Prompts and answers: all of them, those from before $before, and their mean bytes, from 2,000 of them.
WITH found AS (
    SELECT time FROM interactions i WHERE texts_deleted IS NULL
        AND NOT EXISTS (SELECT 1 FROM stored_completions s WHERE s.id = i.id AND s.deleted IS NULL)
), sample AS (
    SELECT coalesce(strlen(request::VARCHAR), 0) + coalesce(strlen(answer), 0) + coalesce(strlen(choices), 0) AS size
    FROM interactions WHERE texts_deleted IS NULL LIMIT 2000
)
SELECT count(*) AS "rows", count(*) FILTER (WHERE time < $before) AS old_rows,
    min(time) FILTER (WHERE time < $before) AS since, (SELECT avg(size) FROM sample) AS mean_bytes
FROM found

-- name: texts_until
-- Where a piece of interactions ends: the time of the last of $limit rows from $since on.
SELECT max(time) AS until FROM (
    SELECT time FROM interactions WHERE time >= $since AND time < $before ORDER BY time LIMIT $limit
)

-- name: texts_delete
-- Delete prompts and answers of one piece, except those of stored completions.
UPDATE interactions SET request = NULL, answer = NULL, choices = NULL, texts_deleted = $now
WHERE time >= $since AND time <= $until AND time < $before AND texts_deleted IS NULL
    AND NOT EXISTS (SELECT 1 FROM stored_completions s WHERE s.id = interactions.id AND s.deleted IS NULL)

-- name: unrated_texts_found
-- Texts and users of interactions without feedback: all of them, and those from before $before.
WITH found AS (
    SELECT time FROM interactions i
    WHERE (texts_deleted IS NULL OR user_id IS NOT NULL OR conversation_id IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM stored_completions s WHERE s.id = i.id AND s.deleted IS NULL)
        AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.interaction_id = i.id)
        AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.conversation_id = i.conversation_id)
        AND NOT EXISTS (SELECT 1 FROM feedback f
            WHERE f.type = 'preference' AND json_extract_string(f.value, '$.chosen') = i.id)
        AND NOT EXISTS (SELECT 1 FROM feedback f
            WHERE f.type = 'preference' AND json_extract_string(f.value, '$.rejected') = i.id)
), sample AS (
    SELECT coalesce(strlen(request::VARCHAR), 0) + coalesce(strlen(answer), 0) + coalesce(strlen(choices), 0) AS size
    FROM interactions WHERE texts_deleted IS NULL LIMIT 2000
)
SELECT count(*) AS "rows", count(*) FILTER (WHERE time < $before) AS old_rows,
    min(time) FILTER (WHERE time < $before) AS since, (SELECT avg(size) FROM sample) AS mean_bytes
FROM found

-- name: unrated_texts_delete
-- Delete texts and users of the interactions of one piece that nobody gave feedback on.
UPDATE interactions SET request = NULL, answer = NULL, choices = NULL, user_id = NULL, conversation_id = NULL, bucket = NULL,
    texts_deleted = $now
WHERE time >= $since AND time <= $until AND time < $before
    AND (texts_deleted IS NULL OR user_id IS NOT NULL OR conversation_id IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM stored_completions s WHERE s.id = interactions.id AND s.deleted IS NULL)
    AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.interaction_id = interactions.id)
    AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.conversation_id = interactions.conversation_id)
    AND NOT EXISTS (SELECT 1 FROM feedback f
        WHERE f.type = 'preference' AND json_extract_string(f.value, '$.chosen') = interactions.id)
    AND NOT EXISTS (SELECT 1 FROM feedback f
        WHERE f.type = 'preference' AND json_extract_string(f.value, '$.rejected') = interactions.id)

-- name: delete_fingerprints
-- Delete signatures of prompts of one piece that are deleted.
DELETE FROM fingerprints WHERE interaction_id IN (
    SELECT id FROM interactions WHERE time >= $since AND time <= $until AND texts_deleted = $now)

-- name: delete_prepared_prompts
-- Delete prompts of one piece, as snapshots use them, that are deleted.
DELETE FROM prepared_prompts WHERE interaction_id IN (
    SELECT id FROM interactions WHERE time >= $since AND time <= $until AND texts_deleted = $now)

-- name: delete_voted_answers
-- Delete answers of one piece, as snapshots need them, that are deleted.
DELETE FROM voted_answers WHERE interaction_id IN (
    SELECT id FROM interactions WHERE time >= $since AND time <= $until AND texts_deleted = $now)

-- name: stored_completions_found
-- Stored completions: all of them, those from before $before, and their mean bytes.
SELECT count(*) AS "rows", count(*) FILTER (WHERE time < $before) AS old_rows,
    min(time) FILTER (WHERE time < $before) AS since,
    (SELECT avg(strlen(completion::VARCHAR)) FROM
        (SELECT completion FROM stored_completions WHERE deleted IS NULL LIMIT 2000)) AS mean_bytes
FROM stored_completions WHERE deleted IS NULL

-- name: stored_completions_until
-- Where a piece of stored completions ends.
SELECT max(time) AS until FROM (
    SELECT time FROM stored_completions WHERE time >= $since AND time < $before ORDER BY time LIMIT $limit
)

-- name: stored_completions_delete
-- Delete the stored completions of one piece. Their ids and positions stay.
UPDATE stored_completions SET deleted = $now, completion = NULL, metadata = '{}'
WHERE time >= $since AND time <= $until AND time < $before AND deleted IS NULL

-- name: stored_texts_delete
-- Delete prompts and answers of the completions that were deleted.
UPDATE interactions SET request = NULL, answer = NULL, choices = NULL, texts_deleted = $now WHERE id IN (
    SELECT id FROM stored_completions WHERE time >= $since AND time <= $until AND deleted = $now)

-- name: delete_stored_prepared_prompts
-- Delete prompts of the completions that were deleted, as snapshots use them.
DELETE FROM prepared_prompts WHERE interaction_id IN (
    SELECT id FROM stored_completions WHERE time >= $since AND time <= $until AND deleted = $now)

-- name: delete_stored_voted_answers
-- Delete answers of the completions that were deleted, as snapshots need them.
DELETE FROM voted_answers WHERE interaction_id IN (
    SELECT id FROM stored_completions WHERE time >= $since AND time <= $until AND deleted = $now)

-- name: votes_found
-- Feedback: all rows, those that arrived before $before, and their mean bytes.
SELECT count(*) AS "rows", count(*) FILTER (WHERE arrived < $before) AS old_rows,
    min(arrived) FILTER (WHERE arrived < $before) AS since,
    (SELECT avg(strlen(value::VARCHAR) + coalesce(strlen(comment), 0) + strlen(metadata::VARCHAR)) FROM
        (SELECT value, comment, metadata FROM feedback LIMIT 2000)) AS mean_bytes
FROM feedback

-- name: votes_until
-- Where a piece of feedback ends.
SELECT max(arrived) AS until FROM (
    SELECT arrived FROM feedback WHERE arrived >= $since AND arrived < $before ORDER BY arrived LIMIT $limit
)

-- name: votes_count
-- Add the feedback of one piece to the counts that stay.
INSERT INTO deleted_feedback_daily
SELECT model, version, arm, type, CAST(time AS DATE), count(*), count(revoked_at) FROM feedback
WHERE arrived >= $since AND arrived <= $until AND arrived < $before GROUP BY ALL

-- name: votes_history_delete
-- Delete what was said before under the ids of one piece.
DELETE FROM feedback_history WHERE feedback_id IN (
    SELECT id FROM feedback WHERE arrived >= $since AND arrived <= $until AND arrived < $before)

-- name: votes_revocations_delete
-- Delete revocations of the feedback of one piece.
DELETE FROM revocations WHERE feedback_id IN (
    SELECT id FROM feedback WHERE arrived >= $since AND arrived <= $until AND arrived < $before)

-- name: votes_quarantine_delete
-- Delete the feedback of one piece from quarantines.
DELETE FROM quarantine_rows WHERE feedback_id IN (
    SELECT id FROM feedback WHERE arrived >= $since AND arrived <= $until AND arrived < $before)

-- name: waiting_delete
-- Let the feedback of one piece wait no more.
DELETE FROM feedback_waiting WHERE feedback_id IN (
    SELECT id FROM feedback WHERE arrived >= $since AND arrived <= $until AND arrived < $before)

-- name: votes_delete
-- Delete the feedback of one piece.
DELETE FROM feedback WHERE arrived >= $since AND arrived <= $until AND arrived < $before

-- name: delete_holdout_users
-- Delete users of holdouts of whom nothing is stored any more.
DELETE FROM holdout_users WHERE NOT EXISTS (
    SELECT 1 FROM feedback f WHERE f.user_id = regexp_replace(holdout_users."user", '^user:', ''))
    AND NOT EXISTS (
        SELECT 1 FROM interactions i WHERE i.user_id = regexp_replace(holdout_users."user", '^user:', ''))

-- name: waiting_found
-- Feedback and revocations that wait: all of them, and those from before $before.
SELECT count(*) AS "rows", count(*) FILTER (WHERE time < $before) AS old_rows,
    min(time) FILTER (WHERE time < $before) AS since, 64.0 AS mean_bytes
FROM (
    SELECT f.arrived AS time FROM feedback_waiting w JOIN feedback f ON f.id = w.feedback_id
    UNION ALL SELECT time FROM revocations WHERE NOT met
    UNION ALL SELECT time FROM subject_revocations
    UNION ALL SELECT make_timestamp(segment) FROM spool_offsets
    QUALIFY row_number() OVER (PARTITION BY spool ORDER BY segment DESC) > 1
)

-- name: revocations_delete
-- Delete the revocations of one piece whose feedback never came.
DELETE FROM revocations WHERE time >= $since AND time <= $until AND time < $before AND NOT met

-- name: subject_revocations_delete
-- Delete the requests of one piece to take back what a user said.
DELETE FROM subject_revocations WHERE time >= $since AND time <= $until AND time < $before

-- name: offsets_delete
-- Delete positions in the segments of one piece, except in the newest segment of each spool.
DELETE FROM spool_offsets
WHERE make_timestamp(segment) >= $since AND make_timestamp(segment) <= $until AND make_timestamp(segment) < $before
    AND segment < (SELECT max(n.segment) FROM spool_offsets n WHERE n.spool = spool_offsets.spool)

-- name: answers_found
-- Cached answers of evaluations: all of them, those from before $before, and their mean bytes.
SELECT count(*) AS "rows", count(*) FILTER (WHERE time < $before) AS old_rows,
    min(time) FILTER (WHERE time < $before) AS since,
    (SELECT avg(strlen(answer)) FROM (SELECT answer FROM answers LIMIT 2000)) AS mean_bytes
FROM answers

-- name: answers_until
-- Where a piece of cached answers ends.
SELECT max(time) AS until FROM (
    SELECT time FROM answers WHERE time >= $since AND time < $before ORDER BY time LIMIT $limit
)

-- name: answers_delete
-- Delete the cached answers of one piece.
DELETE FROM answers WHERE time >= $since AND time <= $until AND time < $before

-- name: dead_letters_found
-- Dead letters: all of them, those from before $before, and their mean bytes.
SELECT count(*) AS "rows", count(*) FILTER (WHERE time < $before) AS old_rows,
    min(time) FILTER (WHERE time < $before) AS since, avg(octet_length(payload)) AS mean_bytes
FROM dead_letters

-- name: dead_letters_until
-- Where a piece of dead letters ends.
SELECT max(time) AS until FROM (
    SELECT time FROM dead_letters WHERE time >= $since AND time < $before ORDER BY time LIMIT $limit
)

-- name: dead_letters_delete
-- Delete the dead letters of one piece.
DELETE FROM dead_letters WHERE time >= $since AND time <= $until AND time < $before

-- name: audit_log_found
-- Rows of the audit log: all of them, those from before $before, and their bytes. Most texts repeat and are compressed.
SELECT count(*) AS "rows", count(*) FILTER (WHERE time < $before) AS old_rows,
    min(time) FILTER (WHERE time < $before) AS since, 128.0 AS mean_bytes
FROM audit_log

-- name: audit_log_until
-- Where a piece of the audit log ends.
SELECT max(time) AS until FROM (
    SELECT time FROM audit_log WHERE time >= $since AND time < $before ORDER BY time LIMIT $limit
)

-- name: regressions_found
-- Examples of finished runs: all of them, those of runs that finished before $before, and their mean bytes.
SELECT count(*) AS "rows", count(*) FILTER (WHERE r.finished < $before) AS old_rows,
    min(r.finished) FILTER (WHERE r.finished < $before) AS since,
    avg(strlen(g.champion) + strlen(g.candidate)) AS mean_bytes
FROM regressions g JOIN runs r ON r.id = g.run_id WHERE r.finished IS NOT NULL

-- name: runs_until
-- Where a piece of finished runs ends.
SELECT max(finished) AS until FROM (
    SELECT finished FROM runs WHERE finished >= $since AND finished < $before ORDER BY finished LIMIT $limit
)

-- name: regressions_delete
-- Delete the examples of the runs of one piece.
DELETE FROM regressions WHERE run_id IN (
    SELECT id FROM runs WHERE finished >= $since AND finished <= $until AND finished < $before)

-- name: progress_found
-- Progress of finished runs and interim analyses of canaries: all of it, and that of runs that finished before $before.
-- The newest training of each model stays, and so does the last interim analysis of each canary.
WITH newest AS (
    SELECT arg_max(r.id, r.started) AS id FROM runs r JOIN run_metrics m ON m.run_id = r.id AND m.phase = 'training'
    GROUP BY r.model
)
SELECT count(*) AS "rows", count(*) FILTER (WHERE finished < $before) AS old_rows,
    min(finished) FILTER (WHERE finished < $before) AS since, avg(size) AS mean_bytes
FROM (
    SELECT r.finished, strlen(m.metrics::VARCHAR) AS size FROM run_metrics m JOIN runs r ON r.id = m.run_id
    WHERE r.finished IS NOT NULL AND r.id NOT IN (SELECT id FROM newest)
    UNION ALL
    SELECT r.finished, strlen(l.body::VARCHAR) FROM canary_looks l JOIN runs r ON r.id = l.run_id
    WHERE r.finished IS NOT NULL
        AND l.look < (SELECT max(n.look) FROM canary_looks n WHERE n.run_id = l.run_id)
)

-- name: progress_delete
-- Delete the progress of the runs of one piece.
DELETE FROM run_metrics WHERE run_id IN (
    SELECT id FROM runs WHERE finished >= $since AND finished <= $until AND finished < $before)
    AND run_id NOT IN (
        SELECT arg_max(r.id, r.started) FROM runs r JOIN run_metrics m ON m.run_id = r.id AND m.phase = 'training'
        GROUP BY r.model)

-- name: looks_delete
-- Delete the interim analyses of canaries of the runs of one piece, except the last of each.
DELETE FROM canary_looks WHERE run_id IN (
    SELECT id FROM runs WHERE finished >= $since AND finished <= $until AND finished < $before)
    AND look < (SELECT max(n.look) FROM canary_looks n WHERE n.run_id = canary_looks.run_id)

-- name: snapshots
-- Every snapshot: when it was last made, whether it is the newest of its model, whether a version learnt from it, and
-- whether a version that serves or may serve, or a run that has not ended, needs it.
WITH current AS (
    SELECT * FROM routes QUALIFY row_number() OVER (PARTITION BY model ORDER BY rev DESC) = 1
), live AS (
    SELECT model, champion AS version FROM current
    UNION SELECT model, canary FROM current WHERE canary IS NOT NULL
    UNION SELECT model, previous FROM current WHERE previous IS NOT NULL
    UNION SELECT model, anchor FROM current WHERE anchor IS NOT NULL
    UNION SELECT model, held FROM holdbacks WHERE finished IS NULL
    UNION SELECT model, promoted FROM holdbacks WHERE finished IS NULL
), learnt AS (
    SELECT r.snapshot, bool_or(l.version IS NOT NULL) AS live
    FROM versions v JOIN runs r ON r.id = v.run_id LEFT JOIN live l ON l.model = v.model AND l.version = v.version
    GROUP BY r.snapshot
), newest AS (
    SELECT arg_max(hash, time) AS hash FROM snapshots GROUP BY model
)
SELECT s.hash, min(s.model) AS model, max(s.time) AS time, min(s.path) AS path,
    coalesce(bool_or(l.snapshot IS NOT NULL), false) AS learnt,
    coalesce(bool_or(l.live), false) AS live,
    s.hash IN (SELECT hash FROM newest) AS newest,
    s.hash IN (SELECT snapshot FROM runs WHERE finished IS NULL AND snapshot IS NOT NULL) AS unfinished
FROM snapshots s LEFT JOIN learnt l ON l.snapshot = s.hash GROUP BY s.hash ORDER BY time

-- name: run_ends
-- When each run ended; NULL if it has not.
SELECT id, finished FROM runs

-- name: delete_snapshot_rows
-- Delete the rows of one snapshot.
DELETE FROM snapshot_rows WHERE snapshot = $snapshot
