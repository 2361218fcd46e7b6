-- name: head
-- The newest row's number and hash.
SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1

-- name: hash_at
-- The hash of one row, by its number.
SELECT hash FROM audit_log WHERE seq = $seq

-- name: append
-- Add rows.
INSERT INTO audit_log (seq, time, act, outcome, status, actor, address, route, model, object, n, request_id, hash)
SELECT unnest($seq::BIGINT[]), unnest($time::TIMESTAMP[]), unnest($act::VARCHAR[]), unnest($outcome::VARCHAR[]),
    unnest($status::INTEGER[]), unnest($actor::VARCHAR[]), unnest($address::VARCHAR[]), unnest($route::VARCHAR[]),
    unnest($model::VARCHAR[]), unnest($object::VARCHAR[]), unnest($n::INTEGER[]), unnest($request_id::VARCHAR[]),
    unnest($hash::VARCHAR[])

-- name: after
-- Rows after a number, oldest first, up to a limit.
SELECT seq, time, act, outcome, status, actor, address, route, model, object, n, request_id, hash
FROM audit_log WHERE seq > $seq ORDER BY seq LIMIT $limit

-- name: page
-- Rows older than $before, newest first. What is NULL filters nothing. Numbers of rows first, so that the texts of other
-- rows are not read.
SELECT seq, time, act, outcome, status, actor, address, route, model, object, n, request_id, hash
FROM audit_log WHERE seq IN (
    SELECT seq FROM audit_log
    WHERE seq < $before AND ($act IS NULL OR act = $act OR starts_with(act, $act || '.'))
        AND ($actor IS NULL OR contains(lower(actor), lower($actor))) AND ($model IS NULL OR model = $model)
        AND ($outcome IS NULL OR outcome = $outcome)
        AND ($since IS NULL OR time >= $since) AND ($until IS NULL OR time < $until)
    ORDER BY seq DESC LIMIT $limit
) ORDER BY seq DESC

-- name: newest_of
-- The number and the object of the newest row of an act.
SELECT seq, object FROM audit_log WHERE act = $act ORDER BY seq DESC LIMIT 1

-- name: last_before
-- The last old row before the first one that is later than $until or not before $before: until there all rows are old,
-- except rows from after $now.
SELECT seq, hash FROM audit_log WHERE seq = (
    SELECT max(seq) FROM audit_log WHERE time <= $until AND time < $before AND seq < coalesce(
        (SELECT min(seq) FROM audit_log WHERE (time > $until OR time >= $before) AND time <= $now), 4611686018427387904))

-- name: delete_through
-- Delete all rows up to a number.
DELETE FROM audit_log WHERE seq <= $seq
