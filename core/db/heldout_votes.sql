-- name: thumbs
-- Thumbs of the users of a bucket on a model that generates, with request and answer, oldest first. `app` is the key, or
-- the oldest key of the same name. `whole` says whether the answer was given to its end. Those in quarantine
-- are left out. The bucket is that of feedback/split.py.
WITH apps AS (
    SELECT id, min(id) OVER (PARTITION BY name) AS app FROM api_keys
), named AS (
    SELECT f.id, f.time, f.arrived, f.value, f.choice, coalesce(a.app, f.key_id, '') AS app, f.user_id AS voter, i.user_id,
        f.revoked_at IS NOT NULL AS revoked, i.id AS interaction_id,
        coalesce(nullif(CASE WHEN starts_with(f.user_id, 'reviewer:') THEN NULL ELSE f.user_id END, ''), i.user_id) AS name
    FROM feedback f JOIN interactions i ON i.id = f.interaction_id LEFT JOIN apps a ON a.id = f.key_id
    WHERE f.model = $model AND f.type = 'thumbs' AND f.id NOT IN (FROM quarantined_feedback)
), placed AS (
    SELECT *, ('0x' || substr(sha256('split' || chr(10) || 'user:' || name), 1, 14))::BIGINT / 72057594037927936::DOUBLE
        AS place
    FROM named WHERE name <> ''
)
SELECT p.id, p.value, p.app, p.voter, p.user_id, p.revoked, p.interaction_id, i.endpoint, i.request,
    CASE WHEN i.choices IS NULL THEN CASE WHEN coalesce(p.choice, 0) = 0 THEN i.answer END
        WHEN p.choice IS NULL AND json_array_length(i.choices) > 1 THEN NULL
        ELSE coalesce(json_extract_string(i.choices, '$[' || coalesce(p.choice, 0) || '].message.content'),
            json_extract_string(i.choices, '$[' || coalesce(p.choice, 0) || '].text')) END AS answer,
    i.status = 200 AND 'stop' IS NOT DISTINCT FROM CASE WHEN i.choices IS NULL THEN i.finish_reason
        ELSE json_extract_string(i.choices, '$[' || coalesce(p.choice, 0) || '].finish_reason') END AS whole
FROM placed p JOIN interactions i ON i.id = p.interaction_id
WHERE p.place >= $low AND p.place < $high ORDER BY p.time, p.arrived, p.id

-- name: flags_on_conversations
-- One flag on a conversation, if there is any.
SELECT id FROM feedback WHERE type = 'flag' AND interaction_id IS NULL LIMIT 1

-- name: flagged
-- Interactions of a model whose answers are flagged unsafe or private, with these flags: by the asker, or by $flag_voters voters who are
-- not in quarantine. As in curation.judge. A flag on a conversation is one on each of its answers that the flag's app
-- asked for: apps choose the names of conversations, and two of them may choose the same.
WITH apps AS (
    SELECT id, min(id) OVER (PARTITION BY name) AS app FROM api_keys
), flags AS (
    SELECT id, interaction_id, conversation_id, key_id, nullif(user_id, '') AS voter FROM feedback
    WHERE type = 'flag' AND json_extract_string(value, '$') IN ('unsafe', 'private') AND revoked_at IS NULL
        AND (model = $model OR interaction_id IS NULL)
), about AS (
    SELECT f.id, f.key_id, f.voter, i.id AS interaction_id, nullif(i.user_id, '') AS asker
    FROM flags f JOIN interactions i ON i.id = f.interaction_id
    UNION ALL
    SELECT f.id, f.key_id, f.voter, i.id, nullif(i.user_id, '')
    FROM flags f JOIN interactions i ON i.conversation_id = f.conversation_id
    LEFT JOIN apps fa ON fa.id = f.key_id LEFT JOIN apps ia ON ia.id = i.key_id
    WHERE f.interaction_id IS NULL AND i.model = $model
        AND (f.key_id IS NULL OR i.key_id IS NULL OR coalesce(fa.app, f.key_id) = coalesce(ia.app, i.key_id))
)
SELECT f.interaction_id, list_sort(list(f.id)) AS flags FROM about f LEFT JOIN apps a ON a.id = f.key_id
LEFT JOIN quarantined_feedback q ON q.feedback_id = f.id
GROUP BY f.interaction_id
HAVING bool_or(coalesce(f.voter, f.asker) = f.asker) OR count(DISTINCT (
    coalesce(a.app, f.key_id, ''), coalesce(f.voter, f.asker)
)) FILTER (q.feedback_id IS NULL) >= $flag_voters
