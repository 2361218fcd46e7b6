-- name: offset
-- How many bytes of a spool segment are ingested.
SELECT "offset" FROM spool_offsets WHERE spool = $spool AND segment = $segment

-- name: set_offset
-- Record how many bytes of a spool segment are ingested.
INSERT INTO spool_offsets VALUES ($spool, $segment, $offset)
ON CONFLICT (spool, segment) DO UPDATE SET "offset" = excluded."offset"

-- name: add_dead_letter
-- Add a record that could not be stored, with its reason.
INSERT INTO dead_letters VALUES ($spool, $segment, $offset, $time, $reason, $payload)

-- name: count_dead_letters
-- Number of dead letters.
SELECT count(*) AS n FROM dead_letters

-- name: newest_dead_letters
-- The newest dead letters.
SELECT spool, segment, "offset", time, reason FROM dead_letters ORDER BY time DESC LIMIT $limit

-- name: seen
-- Each spool with its segments and bytes.
SELECT spool, count(*) AS segments, max(segment) AS newest_segment, sum("offset")::BIGINT AS bytes
FROM spool_offsets GROUP BY spool ORDER BY spool
