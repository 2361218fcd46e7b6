-- name: add
-- Add stored completions.
INSERT INTO stored_completions BY NAME SELECT * FROM given

-- name: known
-- Those of these ids that are stored, or were and are deleted.
SELECT id FROM stored_completions WHERE id IN ($ids)

-- name: find
-- One stored completion of a key, or one response of the Responses API if $responses is true. An owner of NULL means every key, models of NULL mean every model.
SELECT s.id, s.time, s.metadata, s.completion, i.request, i.user_id
FROM stored_completions s JOIN interactions i ON i.id = s.id
WHERE s.id = $id AND s.deleted IS NULL AND ($owner IS NULL OR s.key_id = $owner)
    AND ($models IS NULL OR list_contains($models::VARCHAR[], i.model))
    AND starts_with(s.id, 'resp_') = $responses

-- name: position
-- The position of a stored completion in its list, for paging. A deleted one keeps its position.
SELECT $sign * epoch_us(time) AS place FROM stored_completions
WHERE id = $id AND ($owner IS NULL OR key_id = $owner)

-- name: page
-- One page of a key's stored completions by time, without responses of the Responses API: oldest first if $sign is 1, newest first if it is -1.
SELECT s.id, s.time, s.metadata, s.completion, i.request, i.user_id
FROM stored_completions s JOIN interactions i ON i.id = s.id
WHERE s.deleted IS NULL AND NOT starts_with(s.id, 'resp_') AND ($owner IS NULL OR s.key_id = $owner)
    AND ($models IS NULL OR list_contains($models::VARCHAR[], i.model))
    AND ($model IS NULL OR $model IN (i.model, i.model || '@' || i.version, s.completion ->> '$.model'))
    AND json_contains(s.metadata, $metadata::JSON)
    AND ($after IS NULL OR $sign * epoch_us(s.time) > $place
        OR ($sign * epoch_us(s.time) = $place AND s.id > $after))
ORDER BY $sign * epoch_us(s.time), s.id LIMIT $limit

-- name: set_metadata
-- Replace the metadata of a stored completion.
UPDATE stored_completions SET metadata = $metadata WHERE id = $id

-- name: delete
-- Delete a stored completion.
UPDATE stored_completions SET deleted = $time, completion = NULL, metadata = '{}' WHERE id = $id
