-- name: read
-- What snapshots need of the answers in the table `given`, by interaction and choice. The choice is -1 where a vote names
-- none. `choice_unknown` says that the answer has several choices, and the vote does not name one of them.
SELECT g.interaction_id, g.choice, i.model, $has_text AS has_text, CASE
        WHEN NOT $has_text THEN NULL
        WHEN i.choices IS NULL THEN i.answer
        ELSE coalesce(json_extract_string(i.choices, '$[' || greatest(g.choice, 0) || '].message.content'),
            json_extract_string(i.choices, '$[' || greatest(g.choice, 0) || '].text')) END AS answer,
    i.user_id AS asker, CASE WHEN i.choices IS NULL THEN i.finish_reason
        ELSE json_extract_string(i.choices, '$[' || greatest(g.choice, 0) || '].finish_reason') END AS finish_reason,
    coalesce(nullif(g.choice, -1) >= coalesce(json_array_length(i.choices), 1), json_array_length(i.choices) > 1, FALSE)
        AS choice_unknown, i.status, i.texts_deleted
FROM given g JOIN interactions i ON i.id = g.interaction_id

-- name: add
-- Add the answers in the table `given` that are not stored: two snapshots may add the same ones. An answer that was deleted
-- or erased since it was read is not added.
INSERT INTO voted_answers BY NAME SELECT * EXCLUDE (texts_deleted) FROM given g
WHERE NOT EXISTS (FROM voted_answers a WHERE a.interaction_id = g.interaction_id AND a.choice = g.choice)
    AND EXISTS (FROM interactions i WHERE i.id = g.interaction_id AND i.user_id IS NOT DISTINCT FROM g.asker
        AND i.texts_deleted IS NOT DISTINCT FROM g.texts_deleted)

-- name: delete_others
-- Delete the answers of a model that were read for another task.
DELETE FROM voted_answers WHERE model = $model AND has_text <> $has_text
