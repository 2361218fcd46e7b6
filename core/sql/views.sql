-- name: feedback_counts
-- A model of NULL in a row stands for feedback whose interaction has not been seen (yet).
SELECT model, type, count(*) AS n, count(revoked_at) AS revoked, max(time) AS newest
FROM feedback WHERE ($model IS NULL OR model = $model) AND ($key IS NULL OR key_id = $key) GROUP BY ALL ORDER BY ALL

-- name: feedback_counts_by_key
-- A key of NULL in a row stands for feedback from before keys were written down.
SELECT key_id AS "key", model, type, count(*) AS n, count(revoked_at) AS revoked, count(DISTINCT user_id) AS users,
    max(time) AS newest
FROM feedback WHERE ($model IS NULL OR model = $model) AND ($key IS NULL OR key_id = $key) GROUP BY ALL ORDER BY ALL

-- name: feedback_by_version
-- Of a model's five newest versions that have feedback, so that the number of series stays bounded.
SELECT model, version, arm, type, count(*) AS n FROM feedback
WHERE revoked_at IS NULL AND model IS NOT NULL GROUP BY model, version, arm, type
QUALIFY dense_rank() OVER (PARTITION BY model ORDER BY version DESC) <= 5

-- name: feedback_orphans
SELECT count(*) AS n FROM feedback_waiting

-- name: training_seconds
-- How long the newest training of each model took, or takes so far.
WITH trained AS (
    SELECT r.model, r.started, max(CAST(json_extract_string(m.metrics, '$.seconds') AS DOUBLE)) AS seconds
    FROM run_metrics m JOIN runs r ON r.id = m.run_id WHERE m.phase = 'training' GROUP BY r.id, r.model, r.started
)
SELECT model, arg_max(seconds, started) AS seconds FROM trained WHERE seconds IS NOT NULL GROUP BY model

-- name: routes_now
SELECT model, champion, canary, share, holdback FROM routes
QUALIFY row_number() OVER (PARTITION BY model ORDER BY rev DESC) = 1

-- name: decisions_by_verdict
SELECT model, verdict, count(*) AS n FROM decisions GROUP BY ALL

-- name: decisions_page
-- Decisions older than $before, newest first, by any of model, verdict and time; NULL leaves that open.
SELECT seq, id, time, model, from_version, to_version, verdict, reason, run_id, body, hash
FROM decisions
WHERE seq < $before AND ($model IS NULL OR model = $model) AND ($verdict IS NULL OR verdict = $verdict)
    AND ($since IS NULL OR time >= $since) AND ($until IS NULL OR time < $until)
ORDER BY seq DESC LIMIT $limit

-- name: champion_since
-- When the champion of now began to serve, and by which decision; no row while it always was.
SELECT time, decision_id FROM routes
WHERE model = $model AND rev > (SELECT coalesce(max(rev), 0) FROM routes WHERE model = $model AND champion <> $champion)
ORDER BY rev LIMIT 1

-- name: routes_newest
SELECT rev, time, champion, canary, share, previous, decision_id FROM routes
WHERE model = $model ORDER BY rev DESC LIMIT $limit

-- name: decisions_measured
-- The newest decisions of a model that end an evaluation, one a run, with their evidence.
SELECT seq, id, time, from_version, to_version, verdict, body FROM decisions
WHERE model = $model AND run_id IS NOT NULL AND to_version IS NOT NULL
    AND verdict IN ('promoted', 'kept', 'inconclusive', 'rolled_back', 'awaiting_approval', 'rejected')
QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY seq DESC) = 1
ORDER BY seq DESC LIMIT $limit

-- name: decision_of_version
-- The newest decision about a version that says what it was made of.
SELECT id, body FROM decisions
WHERE model = $model AND to_version = $version AND verdict NOT IN ('switched', 'rolled_back') ORDER BY seq DESC LIMIT 1

-- name: traffic_by_day
SELECT day, version, sum(requests)::BIGINT AS requests, sum(errors)::BIGINT AS errors, sum(tokens)::BIGINT AS tokens
FROM traffic_daily WHERE model = $model AND day >= $since GROUP BY ALL ORDER BY ALL

-- name: feedback_by_day
SELECT CAST(time AS DATE) AS day, type, count(*) AS n, count(revoked_at) AS revoked
FROM feedback WHERE model = $model AND time >= $since GROUP BY ALL ORDER BY ALL

-- name: feedback_page
-- Feedback older than ($before, $before_id), newest first; NULL leaves a filter open. $words is a LIKE pattern.
SELECT id, time, interaction_id, conversation_id, type, value, comment, user_id, metadata, revoked_at, model, version
FROM feedback
WHERE (time < $before OR (time = $before AND id < $before_id))
    AND ($model IS NULL OR model = $model) AND ($type IS NULL OR type = $type)
    AND ($words IS NULL OR comment ILIKE $words ESCAPE '\' OR CAST(value AS VARCHAR) ILIKE $words ESCAPE '\'
         OR user_id ILIKE $words ESCAPE '\' OR interaction_id ILIKE $words ESCAPE '\')
ORDER BY time DESC, id DESC LIMIT $limit

-- name: interaction_get
SELECT id, time, model, version, arm, user_id, conversation_id, endpoint, request, answer, status, latency_ms
FROM interactions WHERE id = $id

-- name: feedback_on
SELECT id, time, type, value, comment, user_id, metadata, revoked_at FROM feedback
WHERE interaction_id = $id ORDER BY time, id

-- name: answers_in_doubt
-- Interactions that users' newest votes put in doubt, most doubtful first; those a reviewer has labelled are left out.
-- Doubt counts a thumbs-down or a flag 1, votes both ways 2, labels that contradict each other 3, and a label given 1
-- less: who labelled has said what is right.
WITH votes AS (
    SELECT interaction_id, type, value::VARCHAR AS value, metadata, time FROM feedback
    WHERE model = $model AND time >= $since AND revoked_at IS NULL AND interaction_id IS NOT NULL
        AND type IN ('thumbs', 'label', 'flag', 'rating') ORDER BY time DESC LIMIT $window
), counted AS (
    SELECT interaction_id, max(time) AS newest,
        count(*) FILTER (WHERE type = 'thumbs' AND value = 'true') AS up,
        count(*) FILTER (WHERE type = 'thumbs' AND value = 'false') AS down,
        count(*) FILTER (WHERE type = 'flag') AS flags,
        count(DISTINCT lower(value)) FILTER (WHERE type = 'label') AS labels,
        bool_or(type = 'label' AND coalesce(json_extract_string(metadata, '$.source'), '') = 'console') AS reviewed
    FROM votes GROUP BY interaction_id
)
SELECT interaction_id, newest, up, down, flags, labels,
    least(down, 1) + least(flags, 1) + 2 * least(up, down, 1) + 3 * greatest(labels - 1, 0)
        - CASE WHEN labels = 1 THEN 1 ELSE 0 END AS doubt
FROM counted WHERE NOT reviewed AND doubt > 0
ORDER BY doubt DESC, newest DESC, interaction_id LIMIT $limit

-- name: spools_seen
SELECT spool, count(*) AS segments, max(segment) AS newest_segment, sum("offset")::BIGINT AS bytes
FROM spool_offsets GROUP BY spool ORDER BY spool

-- name: newest_interaction
SELECT max(time) AS time FROM interactions

-- name: dead_letters_newest
SELECT spool, segment, "offset", time, reason FROM dead_letters ORDER BY time DESC LIMIT $limit
