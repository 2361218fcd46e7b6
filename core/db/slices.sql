-- name: arrivals
-- When interactions arrived, and the app that sent them: the name of its key. Keys of one name are one app. NULL without a
-- key.
SELECT i.id, i.time, coalesce(k.name, nullif(i.key_id, '')) AS app
FROM interactions i LEFT JOIN api_keys k ON k.id = i.key_id WHERE i.id IN ($ids)
