-- name: add
-- Add an erasure. It is pending until everything of the user is erased.
INSERT INTO erasures VALUES ($id, $time, $user_hash, $key, $user, 'pending', $actor, $comment, NULL, $receipt)

-- name: add_interactions
-- Record which interactions are a user's.
INSERT INTO erased_interactions
SELECT $id, id FROM interactions WHERE user_id = $user AND ($key IS NULL OR key_id = $key)

-- name: add_feedback
-- Record which feedback is a user's. Feedback without a user is by the user of its answer, of the answer that it prefers,
-- or of its conversation if both are of one app.
INSERT INTO erased_feedback
WITH apps AS (
    SELECT id, min(id) OVER (PARTITION BY name) AS app FROM api_keys
)
SELECT $id, id FROM feedback WHERE user_id = $user AND ($key IS NULL OR key_id = $key)
UNION
SELECT $id, f.id FROM feedback f JOIN erased_interactions e ON e.id = f.interaction_id AND e.erasure_id = $id
WHERE f.user_id IS NULL
UNION
SELECT $id, f.id FROM feedback f
JOIN erased_interactions e ON e.id = json_extract_string(f.value, '$.chosen') AND e.erasure_id = $id
WHERE f.user_id IS NULL AND f.type = 'preference'
UNION
SELECT $id, f.id FROM feedback f JOIN interactions i ON i.conversation_id = f.conversation_id
JOIN erased_interactions e ON e.id = i.id AND e.erasure_id = $id
LEFT JOIN apps fa ON fa.id = f.key_id LEFT JOIN apps ia ON ia.id = i.key_id
WHERE f.user_id IS NULL AND f.interaction_id IS NULL
    AND (f.key_id IS NULL OR i.key_id IS NULL OR coalesce(fa.app, f.key_id) = coalesce(ia.app, i.key_id))

-- name: counts
-- How much an erasure erases, by kind.
SELECT
    (SELECT count(*) FROM erased_interactions WHERE erasure_id = $id) AS interactions,
    (SELECT count(*) FROM erased_feedback WHERE erasure_id = $id) AS feedback,
    (SELECT count(*) FROM feedback f JOIN erased_interactions e ON e.id = f.interaction_id AND e.erasure_id = $id
     WHERE (f.comment IS NOT NULL OR f.type IN ('correction', 'comment'))
        AND f.id NOT IN (SELECT id FROM erased_feedback WHERE erasure_id = $id)) AS texts_of_others,
    (SELECT count(*) FROM stored_completions s JOIN erased_interactions e ON e.id = s.id AND e.erasure_id = $id
     WHERE s.deleted IS NULL) AS stored_completions,
    (SELECT count(*) FROM regressions r JOIN erased_interactions e
     ON e.id = r.interaction_id AND e.erasure_id = $id) AS regressions,
    (SELECT count(*) FROM answers) AS answers

-- name: models_of
-- Models of an erasure's interactions and feedback.
SELECT i.model FROM interactions i JOIN erased_interactions e ON e.id = i.id AND e.erasure_id = $id
UNION
SELECT f.model FROM feedback f JOIN erased_feedback e ON e.id = f.id AND e.erasure_id = $id WHERE f.model IS NOT NULL
ORDER BY 1

-- name: ids
-- Ids of an erasure's interactions and feedback.
SELECT id FROM erased_interactions WHERE erasure_id = $id UNION ALL SELECT id FROM erased_feedback WHERE erasure_id = $id

-- name: snapshot_rows
-- The rows of an erasure in each snapshot and bucket.
SELECT s.snapshot, s.bucket, count(*) AS n FROM snapshot_rows s
WHERE s.interaction_id IN (SELECT id FROM erased_interactions WHERE erasure_id = $id)
    OR s.feedback_id IN (SELECT id FROM erased_feedback WHERE erasure_id = $id)
GROUP BY ALL ORDER BY ALL

-- name: versions_of
-- Versions whose run used one of these snapshots.
SELECT v.model, v.version, v.kind, v.path, v.sha256, r.snapshot FROM versions v JOIN runs r ON r.id = v.run_id
WHERE r.snapshot IN ($ids) ORDER BY v.model, v.version

-- name: of_version
-- Erasures of users from whom a version, by its public name, learnt, oldest first.
SELECT id FROM erasures WHERE json_contains(json_extract(receipt, '$.versions'), to_json($version::VARCHAR))
ORDER BY time, id

-- name: holdouts_of
-- Holdouts that judged in runs that used one of these snapshots.
SELECT DISTINCT u.model, u.bucket, r.snapshot FROM holdout_uses u JOIN runs r ON r.id = u.run_id
WHERE r.snapshot IN ($ids) ORDER BY ALL

-- name: snapshots_of
-- Reports of these snapshots, one per run, with their folders.
SELECT hash, run_id, model, path, report FROM snapshots WHERE hash IN ($ids) ORDER BY ALL

-- name: runs_of
-- Runs that used one of these snapshots.
SELECT id FROM runs WHERE snapshot IN ($ids) ORDER BY id

-- name: naming_decisions
-- Rows of the ledger that name a user. The ledger never changes, so they keep the name.
SELECT seq FROM decisions WHERE contains(body, $quoted) OR contains(reason, $said) ORDER BY seq

-- name: pending
-- Erasures that are not finished, oldest first.
SELECT * FROM erasures WHERE state <> 'done' ORDER BY time, id

-- name: find
-- One erasure.
SELECT * FROM erasures WHERE id = $id

-- name: newest
-- Erasures, newest first.
SELECT id, time, user_hash, key_id, state, actor, comment, finished, receipt FROM erasures ORDER BY time DESC, id
LIMIT $limit

-- name: tombstones
-- Whose records from before which time are dropped.
SELECT user_hash, key_id, max(time) AS time FROM erasures GROUP BY ALL

-- name: erased
-- Those of these ids that are interactions of an erased user, with the time of the erasure.
SELECT e.id, max(s.time) AS time FROM erased_interactions e JOIN erasures s ON s.id = e.erasure_id
WHERE e.id IN ($ids) GROUP BY e.id

-- name: add_late_interactions
-- Record interactions of an erased user that arrived after the erasure.
INSERT INTO erased_interactions
SELECT (SELECT arg_max(id, time) FROM erasures WHERE user_hash = $user_hash), unnest($ids::VARCHAR[])

-- name: erase_unnamed_feedback
-- Delete feedback without a user on interactions of an erased user.
DELETE FROM feedback WHERE interaction_id IN ($ids) AND user_id IS NULL

-- name: erase_interactions
-- Erase user, conversation, request and answer. The counts remain.
UPDATE interactions SET user_id = NULL, conversation_id = NULL, bucket = NULL, request = NULL, answer = NULL,
    choices = NULL
WHERE id IN (SELECT id FROM erased_interactions WHERE erasure_id = $id)

-- name: erase_stored_completions
-- Delete the stored completions.
UPDATE stored_completions SET deleted = coalesce(deleted, $time), completion = NULL, metadata = '{}'
WHERE id IN (SELECT id FROM erased_interactions WHERE erasure_id = $id)

-- name: erase_texts_of_others
-- Erase what others wrote on the user's answers.
UPDATE feedback SET comment = NULL, value = CASE WHEN type IN ('correction', 'comment') THEN '""'::JSON ELSE value END
WHERE interaction_id IN (SELECT id FROM erased_interactions WHERE erasure_id = $id)
    AND (comment IS NOT NULL OR type IN ('correction', 'comment'))

-- name: erase_regressions
-- Delete answers of evaluations to the user's questions.
DELETE FROM regressions WHERE interaction_id IN (SELECT id FROM erased_interactions WHERE erasure_id = $id)

-- name: erase_fingerprints
-- Delete the signatures of the user's prompts.
DELETE FROM fingerprints WHERE interaction_id IN (SELECT id FROM erased_interactions WHERE erasure_id = $id)

-- name: erase_prepared_prompts
-- Delete the user's prompts as snapshots use them.
DELETE FROM prepared_prompts WHERE interaction_id IN (SELECT id FROM erased_interactions WHERE erasure_id = $id)

-- name: erase_voted_answers
-- Delete the answers to the user as snapshots need them.
DELETE FROM voted_answers WHERE interaction_id IN (SELECT id FROM erased_interactions WHERE erasure_id = $id)

-- name: erase_answers
-- Delete the cached answers of evaluations, which are not linked to users.
DELETE FROM answers

-- name: erase_holdout_users
-- Delete the user from the users of holdouts.
DELETE FROM holdout_users WHERE "user" IN ($user, 'user:' || $user)

-- name: erase_predicates
-- Replace the user's name in quarantines by its hash.
UPDATE quarantine_predicates SET user_id = 'erased:' || $user_hash WHERE user_id = $user

-- name: erase_askers
-- Delete the user's name from feedback that is of another app.
UPDATE feedback SET asker = NULL WHERE asker = $user

-- name: erase_held_voters
-- Delete the user's name from held votes that stay, because they are of another app.
UPDATE quarantine_rows SET voter = NULL WHERE voter = $user

-- name: erase_feedback
-- Delete the feedback.
DELETE FROM feedback WHERE id IN (SELECT id FROM erased_feedback WHERE erasure_id = $id)

-- name: erase_withheld_examples
-- Delete why examples made of the user's votes are withheld: no retrieval has them any more.
DELETE FROM withheld_examples
WHERE interaction_id IS NULL AND feedback_id IN (SELECT id FROM erased_feedback WHERE erasure_id = $id)

-- name: erase_flags_of_withheld_examples
-- Replace the ids of the user's flags. The examples stay withheld.
UPDATE withheld_examples SET feedback_id = ''
WHERE feedback_id IN (SELECT id FROM erased_feedback WHERE erasure_id = $id)

-- name: erase_waiting
-- Delete the feedback from the list of feedback that waits.
DELETE FROM feedback_waiting WHERE feedback_id IN (SELECT id FROM erased_feedback WHERE erasure_id = $id)

-- name: erase_revocations
-- Delete the revocations of the feedback.
DELETE FROM revocations WHERE asked IN (
    SELECT r.asked FROM revocations r JOIN erased_feedback e ON e.id = r.feedback_id AND e.erasure_id = $id)
    OR feedback_id IN (SELECT id FROM erased_feedback WHERE erasure_id = $id)

-- name: erase_history
-- Delete what was said under the same ids before, and what others said before on the user's answers.
DELETE FROM feedback_history WHERE feedback_id IN (SELECT id FROM erased_feedback WHERE erasure_id = $id)
    OR feedback_id IN (
        SELECT f.id FROM feedback f JOIN erased_interactions e ON e.id = f.interaction_id AND e.erasure_id = $id)

-- name: erase_history_of
-- Delete what the user said before under ids of others.
DELETE FROM feedback_history WHERE user_id = $user

-- name: erase_subject_revocations
-- Delete requests to take back what the user said.
DELETE FROM subject_revocations WHERE user_id = $user

-- name: erase_quarantine_rows
-- Delete the feedback from quarantines.
DELETE FROM quarantine_rows WHERE feedback_id IN (SELECT id FROM erased_feedback WHERE erasure_id = $id)

-- name: erase_coverage
-- Delete the coverage of every report of the user's models: its names are words of requests, with or without votes.
UPDATE snapshots SET report = json_merge_patch(report, '{"coverage": null}')
WHERE json_exists(report, '$.coverage') AND model IN (
    SELECT i.model FROM interactions i JOIN erased_interactions e ON e.id = i.id AND e.erasure_id = $id)

-- name: erase_snapshot_rows
-- Delete the rows of one snapshot that are the user's.
DELETE FROM snapshot_rows WHERE snapshot = $snapshot AND (
    interaction_id IN (SELECT id FROM erased_interactions WHERE erasure_id = $id)
    OR feedback_id IN (SELECT id FROM erased_feedback WHERE erasure_id = $id))

-- name: delete_snapshot_rows
-- Delete the rows of one snapshot.
DELETE FROM snapshot_rows WHERE snapshot = $snapshot

-- name: rename_snapshot_rows
-- Give the rows of a snapshot to the one that replaces it.
UPDATE snapshot_rows SET snapshot = $new WHERE snapshot = $old

-- name: replace_snapshot
-- Replace hash, folder and report of a snapshot of one run.
UPDATE snapshots SET hash = $new, path = $path, report = $report WHERE hash = $old AND run_id = $run_id

-- name: replace_snapshot_of_runs
-- Let runs refer to the snapshot that replaces theirs.
UPDATE runs SET snapshot = $new WHERE snapshot = $old

-- name: replace_retrieval
-- Replace the hash of a version's content.
UPDATE versions SET sha256 = $sha256 WHERE model = $model AND version = $version

-- name: set_receipt
-- Replace the receipt.
UPDATE erasures SET receipt = $receipt WHERE id = $id

-- name: forget_user
-- Forget the name: all that remains is to rewrite the store's file.
UPDATE erasures SET user_id = NULL, state = 'rewriting' WHERE id = $id

-- name: forget_feedback
-- Forget which feedback was the user's.
DELETE FROM erased_feedback WHERE erasure_id = $id

-- name: finish
-- Record that an erasure is done.
UPDATE erasures SET state = 'done', finished = $time WHERE id = $id

-- name: add_backup
-- Record a backup.
INSERT INTO backups VALUES ($time, $ledger_head, $bytes)

-- name: backups_before
-- Backups from before a time, oldest first.
SELECT time, ledger_head FROM backups WHERE time < $time ORDER BY time
