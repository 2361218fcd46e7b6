-- name: offset
-- How many bytes of a spool segment are ingested.
SELECT "offset" FROM spool_offsets WHERE spool = $spool AND segment = $segment

-- name: advance
-- Record how many bytes of a spool segment are ingested, if $begin of them were ingested before.
UPDATE spool_offsets SET "offset" = $end WHERE spool = $spool AND segment = $segment AND "offset" = $begin
RETURNING TRUE AS moved

-- name: add_offset
-- Record how many bytes of a new spool segment are ingested.
INSERT INTO spool_offsets VALUES ($spool, $segment, $offset)

-- name: add_dead_letter
-- Add a record that could not be stored, with its reason.
INSERT INTO dead_letters VALUES ($spool, $segment, $offset, $time, $reason, $payload)

-- name: count_dead_letters
-- Number of dead letters.
SELECT count(*) AS n FROM dead_letters

-- name: newest_dead_letters
-- The newest dead letters.
SELECT spool, segment, "offset", time, reason, octet_length(payload) AS bytes FROM dead_letters
ORDER BY time DESC, spool, segment, "offset" LIMIT $limit

-- name: dead_letters
-- Where every dead letter is, in the order in which gateways wrote them.
SELECT spool, segment, "offset" FROM dead_letters ORDER BY segment, "offset", spool

-- name: dead_letter
-- One dead letter with its content.
SELECT spool, segment, "offset", time, reason, payload FROM dead_letters
WHERE spool = $spool AND segment = $segment AND "offset" = $offset

-- name: set_dead_letter
-- Replace the content and the reason of a dead letter.
UPDATE dead_letters SET reason = $reason, payload = $payload
WHERE spool = $spool AND segment = $segment AND "offset" = $offset

-- name: delete_dead_letter
-- Delete one dead letter.
DELETE FROM dead_letters WHERE spool = $spool AND segment = $segment AND "offset" = $offset

-- name: seen
-- Each spool with its segments and bytes.
SELECT spool, count(*) AS segments, max(segment) AS newest_segment, sum("offset")::BIGINT AS bytes
FROM spool_offsets GROUP BY spool ORDER BY spool
