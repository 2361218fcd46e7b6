-- name: newest_arrival
-- When the newest feedback of a model arrived. A preference has no model of its own, and every one counts.
SELECT max(arrived) AS newest FROM feedback WHERE model = $model OR (model IS NULL AND type = 'preference')

-- name: add
-- Add feedback. Model, version, arm and asker are NULL if the interaction has not arrived. `arrived` is the store's own
-- time.
INSERT INTO feedback BY NAME SELECT *, make_timestamp(epoch_us(now())) AS arrived FROM given

-- name: current
-- Those of these ids that are stored, with what they say.
SELECT id, time, interaction_id, conversation_id, type, value, comment, user_id AS "user", metadata, key_id, choice
FROM feedback WHERE id IN ($ids)

-- name: delete
-- Delete feedback whose place a later word takes.
DELETE FROM feedback WHERE id IN ($ids)

-- name: history
-- What was said under these ids, where it was said more than once.
SELECT feedback_id AS id, content, type, value, comment, user_id, first, last FROM feedback_history
WHERE feedback_id IN ($ids)

-- name: delete_history
-- Delete the history of these ids.
DELETE FROM feedback_history WHERE feedback_id IN ($ids)

-- name: add_history
-- Add to the history.
INSERT INTO feedback_history BY NAME SELECT * FROM given

-- name: add_waiting
-- Record feedback whose interaction has not arrived.
INSERT INTO feedback_waiting BY NAME SELECT * FROM given

-- name: waiting_for
-- Waiting feedback about these interactions.
SELECT feedback_id AS id, interaction_id FROM feedback_waiting
WHERE interaction_id IN (SELECT unnest($ids::VARCHAR[]))

-- name: set_interaction
-- Fill in model, version and arm of feedback whose interaction arrived. Only from now on can a run use it.
UPDATE feedback SET model = $model, version = $version, arm = $arm, arrived = make_timestamp(epoch_us(now()))
WHERE id IN ($ids)

-- name: set_asker
-- Fill in the user of the answer where feedback names none. $users is a list in the order of $feedback.
UPDATE feedback SET asker = map_extract_value(MAP($feedback::VARCHAR[], $users::VARCHAR[]), id)
WHERE id IN ($ids) AND user_id IS NULL

-- name: set_chosen_asker
-- Fill in the user of the chosen answer where a preference names none. $users is a list in the order of $answers.
UPDATE feedback SET asker = coalesce(
    asker, map_extract_value(MAP($answers::VARCHAR[], $users::VARCHAR[]), json_extract_string(value, '$.chosen')))
WHERE id IN ($ids) AND user_id IS NULL

-- name: set_arrived
-- Let feedback arrive now: one of the answers that it compares is there. Only from now on can a run use it.
UPDATE feedback SET arrived = make_timestamp(epoch_us(now())) WHERE id IN ($ids)

-- name: delete_waiting_for
-- Delete all that waits for these from the waiting list.
DELETE FROM feedback_waiting WHERE interaction_id IN ($ids)

-- name: delete_waiting
-- Delete feedback from the waiting list.
DELETE FROM feedback_waiting WHERE feedback_id IN ($ids)

-- name: keys_of_one_name
-- The keys that have the same name as one of these: an app's next key has the name of the one before.
SELECT a.id, b.id AS other FROM api_keys a JOIN api_keys b ON a.name = b.name WHERE a.id IN ($ids)

-- name: count_limited_keys
-- Number of keys that may use some models only.
SELECT count(*) AS n FROM api_keys WHERE models IS NOT NULL

-- name: outside_of_key
-- Those of these ids that are about a model which their key may not use.
SELECT f.id AS feedback_id, f.key_id, greatest(f.time, (
    SELECT max(h.last) FROM feedback_history h WHERE h.feedback_id = f.id
)) AS time
FROM feedback f JOIN api_keys k ON k.id = f.key_id
WHERE f.id IN ($ids) AND k.models IS NOT NULL AND f.model IS NOT NULL AND NOT list_contains(k.models, f.model)

-- name: add_revocations
-- Add revocations that are not stored. ON CONFLICT would scan the table.
INSERT INTO revocations BY NAME SELECT *, FALSE AS met FROM given

-- name: revocations
-- Revocations of these feedback ids.
SELECT feedback_id, key_id, time FROM revocations WHERE feedback_id IN ($ids)

-- name: clear_revocations
-- Forget when this feedback was revoked, before it is found out again.
UPDATE feedback SET revoked_at = NULL WHERE id IN ($ids)

-- name: apply_revocations
-- Mark feedback as revoked by the first revocation that applies. One that is older than the last word does not: the user
-- took the vote back and gave it again. Where something was said once only, clocks may differ.
UPDATE feedback SET revoked_at = taken.time FROM (
    SELECT f.id, min(r.time) AS time FROM feedback f JOIN revocations r ON r.feedback_id = f.id
    WHERE f.id IN ($ids) AND (r.key_id = '' OR r.key_id = f.key_id)
        AND NOT EXISTS (SELECT 1 FROM feedback_history h WHERE h.feedback_id = f.id AND h.last > r.time)
    GROUP BY f.id
) taken WHERE feedback.id = taken.id

-- name: meet_revocations
-- Mark revocations of these ids whose feedback is there.
UPDATE revocations SET met = TRUE FROM feedback f
WHERE f.id = revocations.feedback_id AND (revocations.key_id = '' OR revocations.key_id = f.key_id)
    AND NOT revocations.met AND revocations.feedback_id IN ($ids)

-- name: unmet_revocations
-- Requests to take back feedback that is not there (yet), newest first.
SELECT asked, max(time) AS newest FROM revocations GROUP BY asked HAVING NOT bool_or(met) ORDER BY newest DESC

-- name: count_unmet_revocations
-- Number of requests to take back feedback that is not there (yet).
SELECT count(*) AS n FROM (SELECT asked FROM revocations GROUP BY asked HAVING NOT bool_or(met))

-- name: waiting_by_type
-- Feedback whose interaction is not there (yet), by key and type.
SELECT f.key_id AS "key", f.type, count(DISTINCT f.id) AS n, min(f.time) AS oldest, max(f.time) AS newest
FROM feedback_waiting w JOIN feedback f ON f.id = w.feedback_id GROUP BY ALL ORDER BY ALL

-- name: counts
-- Feedback counts by model and type. The model is NULL if the interaction has not arrived.
SELECT model, type, count(*) AS n, count(revoked_at) AS revoked, max(time) AS newest
FROM feedback WHERE ($model IS NULL OR model = $model) AND ($key IS NULL OR key_id = $key) GROUP BY ALL ORDER BY ALL

-- name: counts_by_key
-- Feedback counts by API key, model and type. The key is NULL for feedback from before keys were stored.
SELECT key_id AS "key", model, type, count(*) AS n, count(revoked_at) AS revoked, count(DISTINCT user_id) AS users,
    max(time) AS newest
FROM feedback WHERE ($model IS NULL OR model = $model) AND ($key IS NULL OR key_id = $key) GROUP BY ALL ORDER BY ALL

-- name: counts_by_user
-- Feedback counts by voter, model and type, for the 1,000 with most. A voter is an API key and a user. A vote without a
-- user is by the user of its answer; the user is NULL if that is unknown too.
SELECT key_id AS "key", coalesce(user_id, asker) AS "user", model, type, count(*) AS n, count(revoked_at) AS revoked,
    min(time) AS oldest, max(time) AS newest
FROM feedback WHERE ($model IS NULL OR model = $model) AND ($key IS NULL OR key_id = $key)
GROUP BY ALL ORDER BY n DESC, "key", "user", model, type LIMIT 1000

-- name: counts_by_version
-- Feedback counts by version, arm and type, for the 5 newest versions of a model that have feedback: this limits the
-- number of time series.
SELECT model, version, arm, type, count(*) AS n FROM feedback
WHERE revoked_at IS NULL AND model IS NOT NULL GROUP BY model, version, arm, type
QUALIFY dense_rank() OVER (PARTITION BY model ORDER BY version DESC) <= 5

-- name: count_waiting
-- Number of feedback rows whose interaction has not arrived. A preference can wait for two.
SELECT count(DISTINCT feedback_id) AS n FROM feedback_waiting

-- name: by_day
-- Feedback of a model per day and type, with what was deleted by age.
SELECT day, type, sum(n)::BIGINT AS n, sum(revoked)::BIGINT AS revoked FROM (
    SELECT CAST(time AS DATE) AS day, type, count(*) AS n, count(revoked_at) AS revoked
    FROM feedback WHERE model = $model AND time >= $since GROUP BY ALL
    UNION ALL
    SELECT day, type, n, revoked FROM deleted_feedback_daily WHERE model = $model AND day >= CAST($since::TIMESTAMP AS DATE)
) GROUP BY ALL ORDER BY ALL

-- name: recent_thumbs
-- Thumbs up and all thumbs per model since a moment, without those that were taken back. Thumbs in quarantine count. DuckDB
-- skips older blocks of the table by this parameter.
SELECT model, count(*) FILTER (WHERE value::VARCHAR = 'true') AS up, count(*) AS thumbs FROM feedback
WHERE time >= $since AND type = 'thumbs' AND revoked_at IS NULL AND model IS NOT NULL GROUP BY model

-- name: thumbs_by_version
-- Thumbs up and all thumbs per version of a model since a moment, without those that were taken back.
SELECT version, count(*) FILTER (WHERE value::VARCHAR = 'true') AS up, count(*) AS thumbs FROM feedback
WHERE time >= $since AND model = $model AND type = 'thumbs' AND revoked_at IS NULL GROUP BY version

-- name: page
-- Feedback older than ($before, $before_id), newest first. A filter of NULL filters nothing. $words in any case are in a
-- text of the feedback. An id of an interaction has no space. A search by $reader does not look into what other reviewers
-- said of the models $blind: a hit would tell a label that is hidden from this reviewer.
SELECT id, time, interaction_id, conversation_id, type, value, comment, user_id, metadata, revoked_at, model, version,
    choice
FROM feedback
WHERE (time < $before OR (time = $before AND id < $before_id))
    AND ($model IS NULL OR model = $model) AND ($type IS NULL OR type = $type)
    AND ($words IS NULL
         OR ((contains(lower(CAST(value AS VARCHAR)), lower($words)) OR contains(lower(comment), lower($words)))
             AND (len($blind::VARCHAR[]) = 0 OR type NOT IN ('label', 'correction')
                  OR NOT starts_with(coalesce(user_id, ''), 'reviewer:') OR user_id = $reader
                  OR NOT list_contains($blind::VARCHAR[], coalesce(model, $blind[1]))))
         OR contains(lower(user_id), lower($words))
         OR (NOT contains($words, ' ') AND contains(lower(interaction_id), lower($words))))
ORDER BY time DESC, id DESC LIMIT $limit

-- name: on_interaction
-- Feedback about one interaction, oldest first.
SELECT id, time, type, value, comment, user_id, metadata, revoked_at, choice FROM feedback
WHERE interaction_id = $id ORDER BY time, id

-- name: find
-- One piece of feedback by its id.
SELECT id, interaction_id, type, value, user_id, model, revoked_at FROM feedback WHERE id = $id

-- name: total
-- Number of feedback rows.
SELECT count(*) AS n FROM feedback
