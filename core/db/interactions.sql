-- name: add
-- Add interactions.
INSERT INTO interactions BY NAME SELECT * FROM given

-- name: served
-- Model, version, arm and user of interactions by their ids.
SELECT id, model, version, arm, user_id AS "user" FROM interactions WHERE id IN ($ids)

-- name: served_last
-- Model, version and arm of the last interaction of each of these conversations, and the last user who is named.
SELECT conversation_id AS id, arg_max(model, time) AS model, arg_max(version, time) AS version, arg_max(arm, time) AS arm,
    arg_max(user_id, time) AS "user"
FROM interactions WHERE conversation_id IN ($ids) GROUP BY conversation_id

-- name: add_traffic
-- Add interactions to the traffic of their days. The table has one row per model, version, arm and day.
INSERT INTO traffic_daily
SELECT model, version, arm, CAST(time AS DATE), count(*), count(*) FILTER (WHERE status >= 500),
    coalesce(sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)), 0)
FROM given GROUP BY ALL
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, errors = errors + excluded.errors,
    tokens = tokens + excluded.tokens

-- name: delete_text
-- Delete request and answers of an interaction.
UPDATE interactions SET request = NULL, answer = NULL, choices = NULL, texts_deleted = make_timestamp(epoch_us(now()))
WHERE id = $id

-- name: delete_prepared_prompt
-- Delete the prompt of an interaction as snapshots use it.
DELETE FROM prepared_prompts WHERE interaction_id = $id

-- name: delete_voted_answer
-- Delete an answer as snapshots need it.
DELETE FROM voted_answers WHERE interaction_id = $id

-- name: count_failed
-- Number of a model's failed requests since a moment.
SELECT count(*) AS n FROM interactions WHERE model = $model AND time >= $since AND status >= 500

-- name: find
-- One interaction by its id.
SELECT id, time, model, version, arm, user_id, conversation_id, endpoint, request, answer, choices,
    finish_reason, status, latency_ms, coalesce(asked, FALSE) AS asked
FROM interactions WHERE id = $id

-- name: find_all
-- Interactions by their ids.
SELECT id, time, model, version, arm, user_id, conversation_id, endpoint, request, answer, choices,
    finish_reason, status, latency_ms, coalesce(asked, FALSE) AS asked
FROM interactions WHERE id IN ($ids)

-- name: sample
-- Id and user of a sample of a model's answered requests since a moment. Without a user, the conversation counts as one, as
-- in live tests. The same store gives the same sample. Texts are not read: a table of millions has gigabytes of them.
SELECT id, coalesce(nullif(user_id, ''), nullif(conversation_id, '')) AS who FROM interactions WHERE model = $model AND time >= $since AND status = 200 ORDER BY hash(id), id
LIMIT $size

-- name: requests
-- Requests of interactions by their ids.
SELECT id, endpoint, request FROM interactions WHERE id IN ($ids)

-- name: count_since
-- Number of a model's answered requests since a moment.
SELECT count(*) AS n FROM interactions WHERE model = $model AND time >= $since AND status = 200

-- name: recent_traffic
-- Requests, errors of the server, and the 95th percentile of latency in milliseconds per model since a moment. DuckDB skips
-- older blocks of the table by this parameter.
SELECT model, count(*) AS requests, count(*) FILTER (WHERE status >= 500) AS errors,
    quantile_cont(latency_ms, 0.95) FILTER (WHERE status < 500) AS p95_ms
FROM interactions WHERE time >= $since GROUP BY model

-- name: page
-- Requests between two moments and before ($before, $before_id), newest first, without their texts. A filter of NULL filters
-- nothing. DuckDB skips blocks of other times.
SELECT id, time, model, version, arm, user_id, key_id, endpoint, status, cause, finish_reason, latency_ms, ttft_ms,
    prompt_tokens, completion_tokens, streamed
FROM interactions
WHERE time >= $since AND time <= $before AND (time < $before OR id < $before_id)
    AND ($model IS NULL OR model = $model) AND ($version IS NULL OR version = $version)
    AND ($user IS NULL OR user_id = $user) AND ($key IS NULL OR key_id = $key)
    AND ($least_ms IS NULL OR latency_ms >= $least_ms) AND status BETWEEN $lowest AND $highest
ORDER BY time DESC, id DESC LIMIT $limit

-- name: newest_time
-- Time of the newest interaction.
SELECT max(time) AS time FROM interactions

-- name: traffic_by_day
-- Requests, errors and tokens of a model per day and version.
SELECT day, version, sum(requests)::BIGINT AS requests, sum(errors)::BIGINT AS errors, sum(tokens)::BIGINT AS tokens
FROM traffic_daily WHERE model = $model AND day >= $since GROUP BY ALL ORDER BY ALL

-- name: unsure_answers
-- Answers without votes, or whose votes were taken back, that look wrong, newest first, among the newest answers. Labels
-- of reviewers count as votes if there are $reviewers of them, or one is of this $reviewer. `rank` 3:
-- the answer is not one of the model's labels, or was cut off. `rank` 4: the same question received different answers.
WITH newest AS (
    SELECT id, time, request::VARCHAR AS request, answer, finish_reason FROM interactions
    WHERE model = $model AND time >= $since AND status < 400 AND request IS NOT NULL AND answer IS NOT NULL
    ORDER BY time DESC LIMIT $window
), told AS (
    SELECT id, time, min(lower(trim(answer))) OVER same <> max(lower(trim(answer))) OVER same AS differs,
        finish_reason = 'length' AND len($labels::VARCHAR[]) = 0 AS cut,
        len($labels::VARCHAR[]) > 0 AND NOT list_contains($labels::VARCHAR[], lower(trim(answer))) AS strange
    FROM newest WINDOW same AS (PARTITION BY request)
), wrong AS (
    SELECT id, time, CASE WHEN strange OR cut THEN 3 ELSE 4 END AS rank FROM told WHERE strange OR cut OR differs
), said AS (
    SELECT f.interaction_id AS id, f.user_id, starts_with(coalesce(f.user_id, ''), 'reviewer:')
        AND f.type IN ('label', 'correction') AS is_review
    FROM feedback f JOIN wrong w ON w.id = f.interaction_id WHERE f.time >= $labelled AND f.revoked_at IS NULL
), done AS (
    SELECT id FROM said GROUP BY id HAVING bool_or(NOT is_review OR user_id IS NOT DISTINCT FROM $reviewer)
        OR count(DISTINCT user_id) >= $reviewers
)
SELECT w.id AS interaction_id, w.time AS newest, w.rank FROM wrong w ANTI JOIN done USING (id)
ORDER BY w.rank, w.time DESC, w.id LIMIT $limit

-- name: usage_by_key
-- Requests, errors and tokens per key since a moment, for the 1,000 keys with most requests. DuckDB skips older blocks.
SELECT key_id AS "key", count(*) AS requests, count(*) FILTER (WHERE status >= 500) AS errors,
    coalesce(sum(prompt_tokens), 0)::BIGINT AS prompt_tokens, coalesce(sum(completion_tokens), 0)::BIGINT AS completion_tokens
FROM interactions WHERE time >= $since GROUP BY key_id ORDER BY requests DESC, "key" LIMIT 1000

-- name: newest_days
-- The first of a model's newest days in UTC that have at least $least requests together, none if there are fewer.
SELECT max(day)::TIMESTAMP AS since FROM (
    SELECT day, sum(sum(requests)) OVER (ORDER BY day DESC) AS together FROM traffic_daily
    WHERE model = $model AND day >= $since::TIMESTAMP::DATE AND arm <> 'pinned' GROUP BY day
) WHERE together >= $least

-- name: oldest_of_newest
-- Number of a model's newest answers since a moment, $window at most, and the time of the oldest of them.
SELECT count(*) AS n, min(time) AS time FROM (
    SELECT time FROM interactions WHERE model = $model AND time >= $since AND status = 200 AND arm <> 'pinned'
    ORDER BY time DESC LIMIT $window
)

-- name: random_answers
-- The answers since a moment that are one of the labels, in an order that is random and does not change. Answers that
-- $reviewers reviewers, or this $reviewer, got from this draw since $labelled are left out. Others that reviewers labelled
-- are not, or doubtful answers would be too few.
WITH drawn AS (
    SELECT interaction_id AS id FROM feedback
    WHERE model = $model AND time >= $labelled AND type = 'label' AND starts_with(user_id, 'reviewer:')
        AND revoked_at IS NULL AND json_extract_string(metadata, '$.drawn') = 'random' AND interaction_id IS NOT NULL
    GROUP BY interaction_id
    HAVING bool_or(user_id IS NOT DISTINCT FROM $reviewer) OR count(DISTINCT user_id) >= $reviewers
)
SELECT id AS interaction_id, time AS newest, 0 AS rank FROM interactions
WHERE model = $model AND time >= $since AND status = 200 AND arm <> 'pinned' AND answer IS NOT NULL
    AND list_contains($labels::VARCHAR[], lower(nfc_normalize(trim(answer, E' \t\r\n')))) AND id NOT IN (SELECT id FROM drawn)
ORDER BY md5('queue' || id), id LIMIT $limit

-- name: total
-- Number of interactions.
SELECT count(*) AS n FROM interactions
