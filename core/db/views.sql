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
SELECT rev, time, champion, canary, share, previous, holdback, decision_id FROM routes
WHERE model = $model ORDER BY rev DESC LIMIT $limit

-- name: decisions_measured
-- The newest decisions of a model that hold an evaluation, one a run; a rollback after a holdback holds none. A run has
-- at most five of these verdicts, so that only so many bodies are read.
WITH newest AS (
    SELECT seq, id, time, from_version, to_version, verdict, run_id, body FROM decisions
    WHERE model = $model AND run_id IS NOT NULL AND to_version IS NOT NULL
        AND verdict IN ('promoted', 'kept', 'inconclusive', 'rolled_back', 'awaiting_approval', 'rejected')
    ORDER BY seq DESC LIMIT 5 * $limit
)
SELECT seq, id, time, from_version, to_version, verdict, body FROM newest
WHERE json_extract_string(body, '$.evidence.primary') IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY seq DESC) = 1
ORDER BY seq DESC LIMIT $limit

-- name: decision_of_version
-- The newest decision about a version that says what it was made of; many only name it.
SELECT id, body FROM decisions
WHERE model = $model AND to_version = $version AND json_extract_string(body, '$.lineage.snapshot') IS NOT NULL
ORDER BY seq DESC LIMIT 1

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
-- Interactions that users' newest votes put in doubt, most doubtful first; those a reviewer has answered are left out.
-- `rank` 1: votes that contradict each other; 2: a thumbs-down or a flag, and nobody said what is right.
WITH votes AS (
    SELECT interaction_id, type, value::VARCHAR AS value, metadata, time FROM feedback
    WHERE model = $model AND time >= $since AND revoked_at IS NULL AND interaction_id IS NOT NULL
        AND type IN ('thumbs', 'label', 'correction', 'flag') ORDER BY time DESC LIMIT $window
), counted AS (
    SELECT interaction_id, max(time) AS newest,
        count(*) FILTER (WHERE type = 'thumbs' AND value = 'true') AS up,
        count(*) FILTER (WHERE type = 'thumbs' AND value = 'false') AS down,
        count(*) FILTER (WHERE type = 'flag') AS flags,
        count(DISTINCT lower(value)) FILTER (WHERE type = 'label') AS labels,
        count(*) FILTER (WHERE type = 'correction') AS corrections,
        bool_or(type IN ('label', 'correction') AND coalesce(json_extract_string(metadata, '$.source'), '') = 'console')
            AS reviewed
    FROM votes GROUP BY interaction_id
)
SELECT interaction_id, newest, up, down, flags, labels, corrections,
    CASE WHEN labels > 1 OR (up > 0 AND down > 0) THEN 1 ELSE 2 END AS rank
FROM counted
WHERE NOT reviewed AND (labels > 1 OR (up > 0 AND down > 0) OR (down + flags > 0 AND labels + corrections = 0))
ORDER BY rank, greatest(labels - 1, 0) + least(up, down) + down + flags DESC, newest DESC, interaction_id LIMIT $limit

-- name: answers_unsure
-- Answers that nobody voted on and that look unsure: `rank` 3 is none of the model's labels, or was cut off; 4 is one of
-- several different answers to one and the same question. Newest first, among the newest answers.
WITH newest AS (
    SELECT id, time, request::VARCHAR AS request, answer, finish_reason FROM interactions
    WHERE model = $model AND time >= $since AND status < 400 AND request IS NOT NULL AND answer IS NOT NULL
    ORDER BY time DESC LIMIT $window
), told AS (
    SELECT id, time, min(lower(trim(answer))) OVER same <> max(lower(trim(answer))) OVER same AS differs,
        finish_reason = 'length' AND len($labels::VARCHAR[]) = 0 AS cut,
        len($labels::VARCHAR[]) > 0 AND NOT list_contains($labels::VARCHAR[], lower(trim(answer))) AS strange
    FROM newest WINDOW same AS (PARTITION BY request)
)
SELECT t.id AS interaction_id, t.time AS newest, CASE WHEN t.strange OR t.cut THEN 3 ELSE 4 END AS rank FROM told t
WHERE (t.strange OR t.cut OR t.differs) AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.interaction_id = t.id)
ORDER BY rank, t.time DESC, t.id LIMIT $limit

-- name: regressions_of
-- Where a run's candidate did worst against the champion, with the question while its interaction is still there, and
-- what users said that the answer should have been.
SELECT r.place, r.interaction_id, r.kpi, r.wanted, r.champion, r.candidate, r.loss, i.endpoint, i.request,
    (SELECT max_by(f.value, f.time) FROM feedback f
     WHERE f.interaction_id = r.interaction_id AND f.type = 'correction' AND f.revoked_at IS NULL) AS correction
FROM regressions r JOIN interactions i ON i.id = r.interaction_id WHERE r.run_id = $run_id ORDER BY r.place

-- name: spools_seen
SELECT spool, count(*) AS segments, max(segment) AS newest_segment, sum("offset")::BIGINT AS bytes
FROM spool_offsets GROUP BY spool ORDER BY spool

-- name: newest_interaction
SELECT max(time) AS time FROM interactions

-- name: dead_letters_newest
SELECT spool, segment, "offset", time, reason FROM dead_letters ORDER BY time DESC LIMIT $limit
