-- name: votes
-- Every vote on a model, with what curation needs of its answer and without the texts of prompts. `said` is the text
-- that the vote says is right: of a thumbs-up the answer, or the choice that it names, of others the value.
-- `choice_unknown` says that the answer has several choices, and the vote does not name one of them. `app` is the key, or
-- the oldest key of the same name: an app's next key has the name of the one before.
WITH apps AS (
    SELECT id, min(id) OVER (PARTITION BY name) AS app FROM api_keys
), chosen AS (
    SELECT f.id FROM feedback f JOIN interactions c ON c.id = json_extract_string(f.value, '$.chosen')
    WHERE f.type = 'preference' AND f.model IS NULL AND c.model = $model
), discussed AS (
    SELECT f.id FROM feedback f WHERE f.model IS NULL AND f.conversation_id IN (
        SELECT conversation_id FROM interactions WHERE model = $model AND conversation_id IS NOT NULL
    )
)
SELECT f.id, f.time, f.arrived, f.type, CASE WHEN f.type <> 'thumbs' THEN json_extract_string(f.value, '$')
    WHEN i.choices IS NULL THEN i.answer
    ELSE coalesce(json_extract_string(i.choices, '$[' || coalesce(f.choice, 0) || '].message.content'),
        json_extract_string(i.choices, '$[' || coalesce(f.choice, 0) || '].text')) END AS said,
    f.value = 'true' AS up, f.key_id, coalesce(a.app, f.key_id) AS app, f.user_id AS voter, i.id AS interaction_id,
    i.user_id AS asker,
    CASE WHEN i.choices IS NULL THEN i.finish_reason
        ELSE json_extract_string(i.choices, '$[' || coalesce(f.choice, 0) || '].finish_reason') END AS finish_reason,
    coalesce(f.choice >= coalesce(json_array_length(i.choices), 1), json_array_length(i.choices) > 1, FALSE)
        AS choice_unknown, i.status, f.revoked_at IS NOT NULL AS revoked,
    h.feedback_id IS NOT NULL AS quarantined
FROM feedback f LEFT JOIN interactions i ON i.id = f.interaction_id LEFT JOIN quarantined_feedback h ON h.feedback_id = f.id
LEFT JOIN apps a ON a.id = f.key_id
WHERE f.model = $model OR f.id IN (FROM chosen) OR f.id IN (FROM discussed)

-- name: requests
-- Requests of the interactions in the table `wanted`.
SELECT i.id AS interaction_id, i.endpoint, i.request::VARCHAR AS request
FROM interactions i JOIN wanted w ON w.interaction_id = i.id

-- name: judge
-- The table `votes` with the bucket of each vote that can make a row. Others have a reason. `known_flags` has interactions
-- that are flagged, besides those that `votes` say. `labels` maps what votes say
-- to the model's labels, and whether another label begins with that label: then an answer that ends at its limit of
-- tokens may be cut off. $truth lists the types that say what is right. `key` is the app. `n` is the vote's number in the order of time. The rules apply in this order: type, flags, text, last word, reviewers, split,
-- limits.
WITH named AS (
    SELECT v.*, coalesce(v.app, v.key_id, '') AS "key", coalesce(starts_with(v.voter, 'reviewer:'), FALSE) AS reviewer,
        coalesce(nullif(v.voter, ''), nullif(v.asker, '')) AS voter_name, nullif(v.asker, '') AS asked_by,
        CASE WHEN $task = 'generate' THEN regexp_replace(v.said, '^[\s\p{Z}]+|[\s\p{Z}]+$', '', 'g') ELSE l.label
            END AS label, l.begins_another, v.type = 'thumbs' AND NOT list_contains($truth, 'thumbs') AS is_thumb
    FROM votes v LEFT JOIN labels l ON l.said = v.said
), flagged AS (
    SELECT interaction_id FROM named
    WHERE type = 'flag' AND said IN ('unsafe', 'private') AND NOT revoked AND interaction_id IS NOT NULL
    GROUP BY interaction_id HAVING bool_or(voter_name = asked_by)
        OR count(DISTINCT ("key", voter_name)) FILTER (NOT quarantined) >= $flag_voters
    UNION SELECT interaction_id FROM known_flags
), usable AS (
    SELECT n.*, CASE
        WHEN n.revoked THEN 'revoked'
        WHEN n.quarantined THEN 'in quarantine'
        WHEN n.type IN ('comment', 'flag', 'rating', 'preference') AND NOT list_contains($truth, n.type) THEN 'a ' || n.type
        WHEN n.interaction_id IS NULL THEN 'about a conversation, not about one answer'
        WHEN NOT n.is_thumb AND NOT list_contains($truth, n.type) THEN 'a ' || n.type || ', which a model that ' || $task || 's does not use'
        WHEN f.interaction_id IS NOT NULL THEN 'the answer is flagged unsafe or private'
        WHEN n.is_thumb AND NOT n.up THEN 'a thumbs-down'
        WHEN n.is_thumb AND $task = 'generate' THEN 'a thumbs-up on a generated text'
        WHEN n.is_thumb AND n.choice_unknown THEN 'a thumbs-up that does not name which of several choices it is about'
        WHEN n.is_thumb AND NOT $confirmations THEN 'a thumbs-up, and retrain.confirmations is off'
        WHEN n.is_thumb AND NOT (n.status = 200
                AND (n.finish_reason = 'stop' OR n.finish_reason = 'length' AND n.label IS NOT NULL AND NOT n.begins_another)
                IS TRUE)
            THEN 'a thumbs-up on an answer that failed or was cut off'
        WHEN n.label IS NULL AND n.is_thumb THEN 'a thumbs-up on an answer that is not a label'
        WHEN n.label IS NULL THEN 'not one of the model''s labels'
        WHEN n.label = '' THEN 'an empty text'
    END AS unusable
    FROM named n LEFT JOIN flagged f ON f.interaction_id = n.interaction_id
), last AS (
    -- Of voters who said more than one thing of an answer.
    SELECT interaction_id, "key", coalesce(voter_name, '') AS who, type, max(n) AS n FROM usable
    WHERE interaction_id IS NOT NULL AND (unusable IS NULL OR (is_thumb AND NOT revoked AND NOT quarantined))
    GROUP BY ALL HAVING count(*) > 1
), taken_back AS (
    SELECT interaction_id, "key", coalesce(voter_name, '') AS who, type, max(n) AS n FROM usable
    WHERE revoked AND interaction_id IS NOT NULL GROUP BY ALL
), last_words AS (
    SELECT u.*, CASE
        WHEN unusable IS NOT NULL THEN unusable
        WHEN u.n < t.n THEN 'the voter took a later ' || u.type || ' back'
        WHEN u.n < l.n THEN 'replaced by the voter''s later ' || u.type
    END AS outdated
    FROM usable u LEFT JOIN last l ON l.interaction_id = u.interaction_id AND l."key" = u."key"
        AND l.who = coalesce(u.voter_name, '') AND l.type = u.type
    LEFT JOIN taken_back t ON t.interaction_id = u.interaction_id AND t."key" = u."key"
        AND t.who = coalesce(u.voter_name, '') AND t.type = u.type
), answered AS (
    SELECT interaction_id, arg_max(label, n) FILTER (reviewer) AS reviewed FROM last_words
    WHERE outdated IS NULL AND NOT is_thumb GROUP BY interaction_id
), compared AS (
    SELECT w.*, a.interaction_id IS NOT NULL AS answered_by_users, a.reviewed
    FROM last_words w LEFT JOIN answered a ON a.interaction_id = w.interaction_id WHERE w.outdated IS NULL
), places AS (
    SELECT name, ('0x' || substr(sha256('split' || chr(10) || 'user:' || name), 1, 14))::BIGINT / 72057594037927936::DOUBLE
        AS place
    FROM (SELECT voter_name AS name FROM named UNION SELECT asked_by FROM named) WHERE name IS NOT NULL
), buckets AS (
    SELECT name, CASE WHEN place < $train THEN 'train' WHEN place < $train + $dev THEN 'dev'
        ELSE 'h' || least(4, 1 + floor((place - $train - $dev) / (1 - $train - $dev) * 4))::INTEGER END AS bucket
    FROM places
), split AS (
    SELECT c.*, CASE
        WHEN c.reviewer THEN coalesce(a.bucket, 'train')
        WHEN c.voter_name IS NULL THEN 'train'
        WHEN v.bucket = coalesce(a.bucket, v.bucket) THEN v.bucket
    END AS own_bucket
    FROM compared c LEFT JOIN buckets v ON v.name = c.voter_name LEFT JOIN buckets a ON a.name = c.asked_by
), sorted AS (
    SELECT *, CASE
        WHEN is_thumb AND answered_by_users THEN 'the answer has a ' || $truth[1]
        WHEN NOT is_thumb AND label <> reviewed THEN 'a reviewer''s ' || type || ' overrules it'
        WHEN own_bucket IS NULL THEN 'voter and asker are in different buckets'
        WHEN is_thumb AND own_bucket <> 'train' THEN 'a thumbs-up outside the train bucket'
        WHEN reviewer AND own_bucket <> 'train' AND NOT $reviewers_judge
            THEN 'a reviewer''s ' || type || ' outside the train bucket'
    END AS wrong
    FROM split
), of_voters AS (
    SELECT n, CASE
        WHEN voter_name IS NULL AND nth > $rows_of_nobody THEN 'over trust.rows_of_nobody'
        WHEN voter_name IS NOT NULL AND NOT reviewer AND nth > $rows_per_voter THEN 'over trust.rows_per_voter'
    END AS many
    FROM (
        SELECT n, voter_name, reviewer, row_number() OVER (
            PARTITION BY voter_name IS NULL, CASE WHEN voter_name IS NOT NULL THEN "key" END, voter_name ORDER BY n DESC
        ) AS nth
        FROM sorted WHERE wrong IS NULL
    )
), of_keys AS (
    SELECT n, row_number() OVER (PARTITION BY "key" ORDER BY n DESC) AS nth_of_key, count(*) OVER () AS total
    FROM sorted WHERE wrong IS NULL AND n IN (SELECT n FROM of_voters WHERE many IS NULL)
), capped AS (
    SELECT s.*, CASE
        WHEN wrong IS NOT NULL THEN wrong
        WHEN many IS NOT NULL THEN many
        WHEN nth_of_key > CASE WHEN $rows_per_key < 1 THEN floor($rows_per_key * total) ELSE $rows_per_key END
            THEN 'over trust.rows_per_key'
    END AS reason
    FROM sorted s LEFT JOIN of_voters v ON v.n = s.n LEFT JOIN of_keys k ON k.n = s.n
)
SELECT id AS feedback_id, time, type, interaction_id, coalesce(key_id, '') AS key_id, "key",
    coalesce(voter_name, '') AS voter, coalesce(asked_by, CASE WHEN reviewer THEN '' ELSE voter_name END, '') AS asker,
    reviewer, label, CASE WHEN wrong IS NULL THEN own_bucket END AS bucket, reason
FROM capped
UNION ALL
SELECT id, time, type, interaction_id, '', '', '', '', reviewer, label, NULL, outdated FROM last_words
WHERE outdated IS NOT NULL AND NOT revoked

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
