-- name: votes
-- Every preference, correction, thumb and rating of a model, without texts of prompts and answers. `interaction_id` names
-- what was judged: an answer and the number of its choice, or two answers. `said` is what the vote says of it: the chosen
-- answer's id, the correction, or `up` or `down`. A rating above $middle is up. `up` compares votes on the same.
-- `ended` is `whole`, `cut` (at the limit of length) or `failed`. `app` is the key, or the oldest key of the same name.
WITH apps AS (
    SELECT id, min(id) OVER (PARTITION BY name) AS app FROM api_keys
), named AS (
    SELECT f.* EXCLUDE (asker), coalesce(a.app, f.key_id) AS app, f.type = 'preference' AS compares,
        CASE WHEN f.type = 'preference' THEN json_extract_string(f.value, '$.chosen') ELSE f.interaction_id END AS answer_id,
        CASE WHEN f.type = 'preference' THEN json_extract_string(f.value, '$.rejected') END AS other_id,
        CASE WHEN f.type = 'rating' THEN TRY_CAST(f.value::VARCHAR AS DOUBLE) END AS rated
    FROM feedback f LEFT JOIN apps a ON a.id = f.key_id
    WHERE f.type IN ('preference', 'correction', 'thumbs', 'rating') AND (f.model = $model OR f.type = 'preference')
), joined AS (
    SELECT n.*, i.model AS answer_model, i.user_id AS asker, o.user_id AS other_asker, i.status,
        o.id IS NULL OR o.model <> i.model AS other_unknown,
        coalesce(json_array_length(i.choices), 1) AS choices, coalesce(json_array_length(o.choices), 1) AS other_choices,
        CASE WHEN i.status <> 200 THEN 'failed' ELSE CASE WHEN i.choices IS NULL THEN i.finish_reason
            ELSE json_extract_string(i.choices, '$[' || coalesce(n.choice, 0) || '].finish_reason') END END AS finish,
        CASE WHEN o.status <> 200 THEN 'failed' ELSE o.finish_reason END AS other_finish
    FROM named n LEFT JOIN interactions i ON i.id = n.answer_id LEFT JOIN interactions o ON o.id = n.other_id
)
SELECT id, time, arrived, type, CASE
        WHEN type = 'preference' THEN answer_id
        WHEN type = 'correction' THEN json_extract_string(value, '$')
        WHEN type = 'thumbs' THEN CASE WHEN value = 'true' THEN 'up' ELSE 'down' END
        WHEN $middle IS NULL THEN 'no middle'
        WHEN rated > $middle THEN 'up' WHEN rated < $middle THEN 'down' ELSE 'middle'
    END AS said,
    CASE type WHEN 'preference' THEN answer_id < other_id WHEN 'thumbs' THEN value = 'true'
        WHEN 'rating' THEN CASE WHEN rated <> $middle THEN rated > $middle END END AS up,
    key_id, app, user_id AS voter,
    CASE WHEN compares THEN least(answer_id, other_id) || chr(10) || greatest(answer_id, other_id)
        ELSE answer_id || chr(10) || coalesce(choice, 0) END AS interaction_id,
    asker, NULL::VARCHAR AS finish_reason,
    coalesce(CASE WHEN compares THEN greatest(choices, other_choices) > 1
        ELSE choice >= choices OR (choice IS NULL AND choices > 1) END, FALSE) AS choice_unknown,
    status, revoked_at IS NOT NULL AS revoked, id IN (FROM quarantined_feedback) AS quarantined,
    answer_id, other_id, coalesce(choice, 0) AS choice,
    coalesce(asker <> other_asker, FALSE) AS two_askers, compares AND other_unknown AS other_unknown,
    CASE WHEN finish = 'stop' AND (NOT compares OR other_finish = 'stop') THEN 'whole'
        WHEN finish IN ('stop', 'length') AND (NOT compares OR other_finish IN ('stop', 'length')) THEN 'cut'
        ELSE 'failed' END AS ended
FROM joined WHERE coalesce(model, answer_model) = $model

-- name: answers
-- The answer of each interaction and choice in the table `wanted`.
SELECT w.interaction_id, w.choice,
    CASE WHEN i.choices IS NULL THEN CASE WHEN w.choice = 0 THEN i.answer END
        ELSE coalesce(json_extract_string(i.choices, '$[' || w.choice || '].message.content'),
            json_extract_string(i.choices, '$[' || w.choice || '].text')) END AS answer
FROM wanted w JOIN interactions i ON i.id = w.interaction_id
