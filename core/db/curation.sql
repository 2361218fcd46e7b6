-- name: votes
-- Every vote on a model, with what curation needs of its answer and without the texts of prompts. `said` is the text
-- that the vote says is right: of a thumbs-up the answer, or the choice that it names, of others the value. `is_new` says
-- that the answer is not among the voted answers yet. `app` is the key, or the oldest key of the same name: an app's next
-- key has the name of the one before.
WITH apps AS (
    SELECT id, min(id) OVER (PARTITION BY name) AS app FROM api_keys
), chosen AS (
    SELECT f.id FROM feedback f JOIN interactions c ON c.id = json_extract_string(f.value, '$.chosen')
    WHERE f.type = 'preference' AND f.model IS NULL AND c.model = $model
), discussed AS (
    -- Of the same app: apps choose the names of conversations.
    SELECT f.id FROM feedback f JOIN interactions i ON i.conversation_id = f.conversation_id
    LEFT JOIN apps fa ON fa.id = f.key_id LEFT JOIN apps ia ON ia.id = i.key_id
    WHERE f.model IS NULL AND i.model = $model
        AND (f.key_id IS NULL OR i.key_id IS NULL OR coalesce(fa.app, f.key_id) = coalesce(ia.app, i.key_id))
)
SELECT f.id, f.time, f.arrived, f.type, CASE f.type WHEN 'thumbs' THEN a.answer WHEN 'comment' THEN NULL
    ELSE json_extract_string(f.value, '$') END AS said,
    f.value = 'true' AS up, f.key_id, coalesce(k.app, f.key_id) AS app, f.user_id AS voter, f.interaction_id, a.asker,
    a.finish_reason, coalesce(a.choice_unknown, FALSE) AS choice_unknown, a.status, f.revoked_at IS NOT NULL AS revoked,
    h.feedback_id IS NOT NULL AS quarantined, coalesce(f.choice, -1) AS choice,
    a.answer, f.interaction_id IS NOT NULL AND a.interaction_id IS NULL AS is_new
FROM feedback f LEFT JOIN voted_answers a
    ON a.interaction_id = f.interaction_id AND a.choice = coalesce(f.choice, -1) AND a.has_text = $has_text
LEFT JOIN quarantined_feedback h ON h.feedback_id = f.id LEFT JOIN apps k ON k.id = f.key_id
WHERE f.model = $model OR f.id IN (FROM chosen) OR f.id IN (FROM discussed)

-- name: complete
-- The table `votes` with what the table `answers` has of their answers. A vote on an answer that is not stored is on none.
SELECT v.* REPLACE (CASE v.type WHEN 'thumbs' THEN a.answer ELSE v.said END AS said, a.interaction_id AS interaction_id,
    a.answer AS answer, a.asker AS asker, a.finish_reason AS finish_reason, coalesce(a.choice_unknown, FALSE) AS choice_unknown,
    a.status AS status)
FROM votes v LEFT JOIN answers a ON a.interaction_id = v.interaction_id AND a.choice = v.choice

-- name: requests
-- Requests of the interactions in the table `wanted`.
SELECT i.id AS interaction_id, i.endpoint, i.request::VARCHAR AS request
FROM interactions i JOIN wanted w ON w.interaction_id = i.id

-- name: hashes
-- A hash of the answer of each vote in the table `votes`.
SELECT place, hash(interaction_id) AS hashed FROM votes WHERE interaction_id IS NOT NULL

-- name: judge
-- The table `votes` with the bucket of each vote that can make a row. Others have a reason. It has numbers instead of names
-- and texts: `said` has the texts that votes say, `people` the names of voters and askers. `labels` maps what votes say to
-- the model's labels, and whether another label begins with that label: then an answer that ends at its limit of tokens may
-- be cut off. $truth lists the types that say what is right. `key` is the app. `n` is the vote's number in the order of
-- time. `answer` is NULL if no other vote is on the same answer. `is_flagged` says that it is flagged, as is known before. The rules apply in this order: type, flags, text, last
-- word, reviewers, split. Limits per voter and key come after these rules.
WITH texts AS (
    SELECT s.number, s.text IN ('unsafe', 'private') AS is_harm, l.begins_another, CASE WHEN $task = 'generate'
        THEN regexp_replace(s.text, '^[\s\p{Z}]+|[\s\p{Z}]+$', '', 'g') ELSE l.label END AS label
    FROM said s LEFT JOIN labels l ON l.said = s.text
), flagged AS (
    SELECT answer FROM votes v JOIN texts t ON t.number = v.said
    WHERE v.type = 'flag' AND t.is_harm AND NOT v.revoked AND answer IS NOT NULL
    GROUP BY answer HAVING bool_or(coalesce(voter, asker) = asker)
        OR count(DISTINCT ("key", coalesce(voter, asker))) FILTER (NOT quarantined) >= $flag_voters
), places AS (
    SELECT number, starts_with(name, 'reviewer:') AS reviewer, starts_with(name, 'reviewer:adjudicator:') AS adjudicator,
        ('0x' || substr(sha256('split' || chr(10) || 'user:' || name), 1, 14))::BIGINT / 72057594037927936::DOUBLE AS place
    FROM people
), buckets AS (
    SELECT number, reviewer, adjudicator, CASE WHEN place < $train THEN 'train' WHEN place < $train + $dev THEN 'dev'
        ELSE 'h' || least(4, 1 + floor((place - $train - $dev) / (1 - $train - $dev) * 4))::INTEGER END AS bucket
    FROM places
), usable AS NOT MATERIALIZED (
    SELECT v.n, v.answer, v."key", v.type, v.revoked, v.asker, coalesce(v.voter, v.asker) AS voter, t.label,
        v.type = 'thumbs' AND NOT list_contains($truth, 'thumbs') AS is_thumb, CASE
        WHEN v.revoked THEN 'revoked'
        WHEN v.quarantined THEN 'in quarantine'
        WHEN v.type IN ('comment', 'flag', 'rating', 'preference') AND NOT list_contains($truth, v.type) THEN 'a ' || v.type
        WHEN NOT v.has_answer THEN 'about a conversation, not about one answer'
        WHEN NOT is_thumb AND NOT list_contains($truth, v.type) THEN 'a ' || v.type || ', which a model that ' || $task || 's does not use'
        WHEN v.is_flagged OR f.answer IS NOT NULL THEN 'the answer is flagged unsafe or private'
        WHEN is_thumb AND NOT v.up THEN 'a thumbs-down'
        WHEN is_thumb AND $task = 'generate' THEN 'a thumbs-up on a generated text'
        WHEN is_thumb AND v.choice_unknown THEN 'a thumbs-up that does not name which of several choices it is about'
        WHEN is_thumb AND NOT $confirmations THEN 'a thumbs-up, and retrain.confirmations is off'
        WHEN is_thumb AND NOT (v.status = 200
                AND (v.finish_reason = 'stop' OR v.finish_reason = 'length' AND t.label IS NOT NULL AND NOT t.begins_another)
                IS TRUE)
            THEN 'a thumbs-up on an answer that failed or was cut off'
        WHEN t.label IS NULL AND is_thumb THEN 'a thumbs-up on an answer that is not a label'
        WHEN t.label IS NULL THEN 'not one of the model''s labels'
        WHEN t.label = '' THEN 'an empty text'
    END AS unusable, v.quarantined, v.voter IS NOT NULL AS is_named
    FROM votes v LEFT JOIN texts t ON t.number = v.said LEFT JOIN flagged f ON f.answer = v.answer
), last AS (
    -- Of voters who said more than one thing of an answer.
    SELECT answer, "key", coalesce(voter, -1) AS who, type, max(n) AS n FROM usable
    WHERE answer IS NOT NULL AND (unusable IS NULL OR (is_thumb AND NOT revoked AND NOT quarantined))
    GROUP BY ALL HAVING count(*) > 1
), taken_back AS (
    SELECT answer, "key", coalesce(voter, -1) AS who, type, max(n) AS n FROM usable
    WHERE revoked AND answer IS NOT NULL GROUP BY ALL
), last_words AS NOT MATERIALIZED (
    SELECT u.*, b.bucket AS voter_bucket, coalesce(u.is_named AND b.reviewer, FALSE) AS reviewer,
        coalesce(u.is_named AND b.adjudicator, FALSE) AS adjudicator, CASE
        WHEN unusable IS NOT NULL THEN unusable
        WHEN u.n < t.n THEN 'the voter took a later ' || u.type || ' back'
        WHEN u.n < l.n THEN 'replaced by the voter''s later ' || u.type
    END AS outdated
    FROM usable u LEFT JOIN last l ON l.answer = u.answer AND l."key" = u."key" AND l.who = coalesce(u.voter, -1)
        AND l.type = u.type
    LEFT JOIN taken_back t ON t.answer = u.answer AND t."key" = u."key" AND t.who = coalesce(u.voter, -1)
        AND t.type = u.type
    LEFT JOIN buckets b ON b.number = u.voter
), answered AS (
    SELECT answer, arg_max(label, n) FILTER (reviewer) AS newest, arg_max(label, n) FILTER (adjudicator) AS adjudicated,
        histogram(label) FILTER (reviewer AND NOT adjudicator) AS given
    FROM last_words WHERE answer IS NOT NULL AND outdated IS NULL AND NOT is_thumb GROUP BY answer
), settled AS (
    -- The rule of feedback/reviewer_agreement.py.
    SELECT answer, CASE WHEN adjudicated IS NOT NULL THEN adjudicated WHEN $reviewers = 1 THEN newest
        ELSE list_filter(map_keys(given), lambda label: 2 * given[label] > list_sum(map_values(given)))[1] END AS reviewed,
        $reviewers > 1 AND given IS NOT NULL AND reviewed IS NULL AS disputed
    FROM answered
), split AS (
    SELECT w.*, s.answer IS NOT NULL AS answered_by_users, s.reviewed, coalesce(s.disputed, FALSE) AS disputed, CASE
        WHEN w.reviewer THEN coalesce(a.bucket, 'train')
        WHEN w.voter IS NULL THEN 'train'
        WHEN w.voter_bucket = coalesce(a.bucket, w.voter_bucket) THEN w.voter_bucket
    END AS own_bucket
    FROM last_words w LEFT JOIN settled s ON s.answer = w.answer LEFT JOIN buckets a ON a.number = w.asker
)
SELECT n, type, "key", voter, reviewer, CASE
        WHEN outdated IS NOT NULL THEN outdated
        WHEN is_thumb AND answered_by_users THEN 'the answer has a ' || $truth[1]
        WHEN NOT is_thumb AND disputed THEN 'reviewers disagree about the answer'
        WHEN NOT is_thumb AND label <> reviewed THEN 'a reviewer''s ' || type || ' overrules it'
        WHEN own_bucket IS NULL THEN 'voter and asker are in different buckets'
        WHEN is_thumb AND own_bucket <> 'train' THEN 'a thumbs-up outside the train bucket'
        WHEN reviewer AND own_bucket <> 'train' AND NOT $reviewers_judge
            THEN 'a reviewer''s ' || type || ' outside the train bucket'
    END AS reason, CASE WHEN reason IS NULL THEN label END AS label, CASE WHEN reason IS NULL THEN own_bucket END AS bucket
FROM split WHERE NOT revoked

-- name: select
-- The table `candidates` with the bucket's rules over texts. `prompts` holds place, rank and cluster by interaction. A prompt
-- without a cluster is not readable. `weights` holds the weights of voters by name. A vote without a reason makes a row.
-- Rows are sorted by time and content.
WITH texts AS (
    SELECT c.*, p.place, p.rank, p.unreadable, p.cluster, coalesce(w.weight, 1) AS weight
    FROM candidates c LEFT JOIN prompts p ON p.interaction_id = c.interaction_id
    LEFT JOIN weights w ON w.name = c."key" || chr(10) || c.voter
), supported AS (
    SELECT *, CASE
        WHEN cluster IS NULL THEN coalesce(unreadable, 'the prompt is not kept')
        WHEN weight < $min_weight AND NOT reviewer THEN 'the voter disagrees with others'
        WHEN type = 'correction' AND NOT bool_or(reviewer) OVER same
            AND count(DISTINCT ("key", voter)) FILTER (weight >= $min_weight) OVER same < $correction_voters
            THEN 'a correction of fewer voters than trust.correction_voters'
    END AS unsupported
    FROM texts WINDOW same AS (PARTITION BY cluster, type, lower(label))
), judges AS (
    SELECT cluster, arg_min(bucket, (time, feedback_id)) AS judged_in FROM supported
    WHERE bucket <> 'train' AND unsupported IS NULL GROUP BY cluster
), judging AS (
    SELECT s.*, j.judged_in FROM supported s LEFT JOIN judges j ON j.cluster = s.cluster
), apart AS (
    SELECT *, CASE
        WHEN unsupported IS NOT NULL THEN unsupported
        WHEN bucket = 'train' AND judged_in IS NOT NULL THEN 'same text as one kept to judge by'
        WHEN bucket <> judged_in THEN 'same text as one in another bucket to judge by'
    END AS straddles
    FROM judging
), counted AS (
    SELECT *, row_number() OVER (PARTITION BY cluster, straddles IS NULL ORDER BY time DESC, feedback_id DESC) AS nth
    FROM apart
)
SELECT interaction_id, feedback_id, type, CASE WHEN voter = '' THEN '' ELSE 'user:' || voter END AS "user", bucket, place,
    label, CASE WHEN type = 'thumbs' THEN 'confirmation' ELSE type END AS signal,
    strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ') AS time, CASE WHEN asker = '' THEN '' ELSE 'user:' || asker END AS asker,
    key_id, weight, cluster, CASE
        WHEN straddles IS NOT NULL THEN straddles
        WHEN nth > $rows_per_duplicate_cluster THEN 'over trust.rows_per_duplicate_cluster'
    END AS reason
FROM counted ORDER BY counted.time, rank, label, signal, "user", interaction_id, feedback_id
