-- name: add_canary
-- Add a canary that has just started.
INSERT INTO canaries (run_id, model, control, candidate, share, started, score_sd, plan, decision)
VALUES ($run_id, $model, $control, $candidate, $share, $started, $score_sd, $plan, $decision)

-- name: pause_canary
-- Pause the running canary of a model.
UPDATE canaries SET paused = $time WHERE model = $model AND finished IS NULL

-- name: restart_canary
-- Begin the count of the running canary of a model again, with another share and plan. The number of looks goes on.
UPDATE canaries SET share = $share, started = $started, score_sd = $score_sd, plan = $plan, paused = NULL,
    looked = NULL, numbers = NULL
WHERE model = $model AND finished IS NULL

-- name: open_canaries
-- Every running canary with the state of its run and its newest interim analysis, oldest first.
SELECT c.run_id, c.model, c.control, c.candidate, c.share, c.started, c.score_sd, c.plan, c.decision, c.paused, c.looks,
    c.looked, c.numbers, r.state
FROM canaries c JOIN runs r ON r.id = c.run_id WHERE c.finished IS NULL ORDER BY c.started

-- name: count_comparisons
-- Number of canaries of a model that served this version as the anchor.
SELECT count(*) AS n FROM canaries WHERE model = $model AND CAST(plan ->> '$.anchor.version' AS INTEGER) = $anchor

-- name: close_canary
-- End the running canary of a model, if there is one.
UPDATE canaries SET finished = $time WHERE model = $model AND finished IS NULL

-- name: canary_of_run
-- The canary of a run: its beginning, or that of its newest count, and its end.
SELECT started, finished FROM canaries WHERE run_id = $run_id

-- name: set_canary_numbers
-- Make an interim analysis the newest one of a running canary. Its numbers are kept if the count did not begin again since.
UPDATE canaries SET looks = $look, looked = if(started = $started, $time::TIMESTAMP, looked),
    numbers = if(started = $started, $body, numbers)
WHERE run_id = $run_id

-- name: add_look
-- Add one interim analysis of a canary.
INSERT INTO canary_looks VALUES ($run_id, $look, $time, $verdict, $reason, $body)

-- name: looks
-- Interim analyses of a run's canary between two moments, oldest first: the last $newest, and of all of them about $most
-- at equal distances. The times let DuckDB skip the looks of all other years.
SELECT l.look, l.time, l.verdict, l.reason, l.body FROM canary_looks l, (
    SELECT max(look) AS last, 1 + (max(look) - min(look)) // $most AS step FROM canary_looks
    WHERE run_id = $run_id AND time >= $since AND time <= $until
) own
WHERE l.run_id = $run_id AND l.time >= $since AND l.time <= $until
    AND (own.last - l.look < $newest OR (own.last - l.look) % own.step = 0)
ORDER BY l.look

-- name: count_looks
-- How many interim analyses each of these runs' canaries has had, and when the last one was. The times let DuckDB pass over
-- the looks of all other years: they were added in the order of time.
SELECT run_id, count(*) AS looks, max(time) AS last FROM canary_looks
WHERE time >= $since AND time <= $until AND run_id IN ($ids) GROUP BY run_id

-- name: count_arms
-- Count per version: users, their mean score with its standard deviation, the share of rated requests, harmed users,
-- and users with a stray answer, that is, an answer that is not one of `labels`. An answer that `max_tokens` cut off is
-- stray if no label begins with it. A request that failed, was aborted or has no stored text is never stray. Texts are
-- compared like the votes of a snapshot: without case, and without the characters `blanks` at both ends.
-- A request without thumbs scores 0: leaving it out would undo the randomisation. The votes of a user who rates more
-- than the share `vote_cap` of their requests are scaled down to that share. `vote_cap` is twice the median share of the
-- users who vote. It is the same in both arms, and fewer than half of the voters cannot move it. The clock that dates
-- votes may be up to one hour slow. Votes in quarantine do not count.
-- An error harms only if the version made it: its cause is 'engine_error', or in old rows, which have no cause, the
-- status is 500 or more. The minutes in which an engine lacked a version, or no engine answered, are left out for both
-- arms. They hit the arms unequally, and a whole minute does not depend on who asked, so the split stays fair.
-- A flag on a conversation is one on its last answer of the version that the flag is about, if its app asked for that
-- answer: apps choose the names of conversations.
-- A flag harms the asker if the asker gave it, by key and user. A name that the answer or the flag lacks is that of the
-- other one. If both lack the user, the flag does not count. A voter harms at most one user. Flags of others harm the
-- asker if $harm_voters of them flagged the same answer. Each key adds its voters to one such answer only, the one that most of
-- its voters flagged, because anyone who has a key can invent users.
WITH apps AS (
    SELECT id, min(id) OVER (PARTITION BY name) AS app FROM api_keys
), valid AS (
    SELECT list_transform($labels::VARCHAR[], lambda label: lower(trim(label, $blanks))) AS labels
), unserved AS (
    SELECT DISTINCT date_trunc('minute', time) AS minute FROM interactions
    WHERE model = $model AND version IN ($control, $candidate) AND time >= $since
        AND cause IN ('not_loaded', 'unreachable')
), asked AS (
    SELECT id, time, version, user_id, key_id, conversation_id, coalesce(user_id, conversation_id) AS who,
        coalesce(cause = 'engine_error', status >= 500) AS failed,
        len(labels) > 0 AND status = 200 AND answer IS NOT NULL AND CASE finish_reason
            WHEN 'stop' THEN NOT list_contains(labels, lower(trim(answer, $blanks)))
            WHEN 'length' THEN NOT list_bool_or(
                list_transform(labels, lambda label: starts_with(label, lower(trim(answer, $blanks)))))
            ELSE false END AS strays
    FROM interactions, valid
    WHERE model = $model AND version IN ($control, $candidate) AND time >= $since AND bucket IS NOT NULL
        AND date_trunc('minute', time) NOT IN (SELECT minute FROM unserved)
), thumbs AS (
    SELECT interaction_id, CASE WHEN arg_max(value, time)::VARCHAR = 'true' THEN 1 ELSE -1 END AS score
    FROM feedback WHERE type = 'thumbs' AND revoked_at IS NULL AND interaction_id IS NOT NULL
        AND time >= $since - INTERVAL 1 HOUR AND id NOT IN (SELECT feedback_id FROM quarantined_feedback)
    GROUP BY interaction_id
), given_flags AS (
    SELECT id, interaction_id, conversation_id, version, time, key_id, user_id FROM feedback
    WHERE type = 'flag' AND (interaction_id IS NOT NULL OR model = $model) AND value::VARCHAR IN ('"unsafe"', '"hallucination"') AND revoked_at IS NULL
        AND time >= $since - INTERVAL 1 HOUR AND id NOT IN (SELECT feedback_id FROM quarantined_feedback)
), flagged_answers AS (
    SELECT f.id AS flag, f.time, f.key_id, f.user_id, i.id FROM given_flags f JOIN asked i ON i.id = f.interaction_id
    UNION ALL
    SELECT f.id, f.time, f.key_id, f.user_id, arg_max(i.id, (i.time, i.id))
    FROM given_flags f JOIN asked i ON i.conversation_id = f.conversation_id AND i.version = f.version
    LEFT JOIN apps fa ON fa.id = f.key_id LEFT JOIN apps ia ON ia.id = i.key_id
    WHERE f.interaction_id IS NULL
        AND (f.key_id IS NULL OR i.key_id IS NULL OR coalesce(fa.app, f.key_id) = coalesce(ia.app, i.key_id))
    GROUP BY ALL
), flags AS (
    SELECT i.id, i.version, i.who, f.time, f.key_id, coalesce(f.user_id, i.user_id) AS voter,
        (f.user_id IS NULL OR i.user_id IS NULL OR f.user_id = i.user_id)
            AND (f.key_id IS NULL OR i.key_id IS NULL OR f.key_id = i.key_id) AS own
    FROM flagged_answers f JOIN asked i ON i.id = f.id WHERE voter IS NOT NULL
), own_flags AS (
    SELECT version, who FROM flags WHERE own
    QUALIFY row_number() OVER (PARTITION BY key_id, voter ORDER BY time, id) = 1
), flags_of_key AS (
    SELECT id, version, who, count(DISTINCT voter) AS voters FROM flags WHERE NOT own GROUP BY id, version, who, key_id
    QUALIFY row_number() OVER (PARTITION BY key_id ORDER BY count(DISTINCT voter) DESC, min(time), id) = 1
), flagged AS (
    SELECT version, who FROM own_flags
    UNION SELECT version, who FROM flags_of_key GROUP BY id, version, who HAVING sum(voters) >= $harm_voters
), users AS (
    SELECT i.version, i.who, count(*) AS requests,
        coalesce(sum(t.score), 0) / count(*) AS score,
        count(t.score) / count(*) AS rate,
        bool_or(failed OR f.who IS NOT NULL) AS harmed, bool_or(strays) AS strayed
    FROM asked i
    LEFT JOIN thumbs t ON t.interaction_id = i.id
    LEFT JOIN flagged f ON f.version = i.version AND f.who = i.who
    GROUP BY i.version, i.who
), cap AS (
    SELECT coalesce(least(1.0, 2 * median(rate) FILTER (WHERE rate > 0)), 1.0)::DOUBLE AS vote_cap FROM users
), weighed AS (
    SELECT version, requests, harmed, strayed, vote_cap,
        score * vote_cap / greatest(rate, vote_cap) AS score, least(rate, vote_cap) AS rate
    FROM users, cap
)
SELECT version, count(*) AS users, sum(requests)::BIGINT AS requests, avg(score) AS score_mean,
    stddev_samp(score) AS score_sd, avg(rate) AS rate_mean, stddev_samp(rate) AS rate_sd,
    count(*) FILTER (WHERE harmed) AS harmed, covar_samp(score, rate) AS covariance, any_value(vote_cap) AS vote_cap,
    count(*) FILTER (WHERE strayed) AS strayed
FROM weighed GROUP BY version

-- name: score_history
-- Scores and rating rate of a model's users in the 30 days before a live test.
WITH thumbs AS (
    SELECT interaction_id, CASE WHEN arg_max(value, time)::VARCHAR = 'true' THEN 1 ELSE -1 END AS score
    FROM feedback WHERE type = 'thumbs' AND revoked_at IS NULL AND interaction_id IS NOT NULL GROUP BY interaction_id
), users AS (
    SELECT coalesce(i.user_id, i.conversation_id) AS who, avg(coalesce(t.score, 0)) AS score,
        count(t.score) / count(*) AS rate
    FROM interactions i LEFT JOIN thumbs t ON t.interaction_id = i.id
    WHERE i.model = $model AND i.time < $before AND i.time >= $before - INTERVAL 30 DAY AND i.bucket IS NOT NULL
    GROUP BY ALL
)
SELECT count(*) FILTER (WHERE rate > 0) AS voters, stddev_samp(score) AS score_sd, avg(rate) AS rate_mean,
    stddev_samp(rate) AS rate_sd, covar_samp(score, rate) AS covariance
FROM users

-- name: traffic_history
-- Users and requests of a model in the 7 days before a moment, with the rating rate and scores of its users.
WITH asked AS (
    SELECT i.id, i.time, coalesce(i.user_id, i.conversation_id) AS who FROM interactions i
    WHERE i.model = $model AND i.time < $before AND i.time >= $before - INTERVAL 7 DAY AND i.bucket IS NOT NULL
), thumbs AS (
    SELECT interaction_id, CASE WHEN arg_max(value, time)::VARCHAR = 'true' THEN 1 ELSE -1 END AS score
    FROM feedback WHERE type = 'thumbs' AND revoked_at IS NULL AND interaction_id IS NOT NULL
        AND time >= $before - INTERVAL 8 DAY
    GROUP BY interaction_id
), users AS (
    SELECT who, count(*) AS requests, min(i.time) AS first, count(t.score) / count(*) AS rate,
        coalesce(sum(t.score), 0) / count(*) AS score
    FROM asked i LEFT JOIN thumbs t ON t.interaction_id = i.id GROUP BY who
)
SELECT count(*) AS users, coalesce(sum(requests), 0)::BIGINT AS requests,
    coalesce(date_diff('second', min(first), $before), 0) / 86400.0 AS days,
    avg(rate) AS rate_mean, stddev_samp(rate) AS rate_sd, stddev_samp(score) AS score_sd,
    covar_samp(score, rate) AS covariance
FROM users

-- name: add_holdback
-- Add a holdback that has just started.
INSERT INTO holdbacks (run_id, model, promoted, held, share, score_sd, started, until, plan)
VALUES ($run_id, $model, $promoted, $held, $share, $score_sd, $started, $until, $plan)

-- name: open_holdbacks
-- Every running holdback, oldest first.
SELECT run_id, model, promoted, held, share, score_sd, started, until, plan FROM holdbacks WHERE finished IS NULL
ORDER BY started

-- name: holdback_of
-- The running holdback of a model with its newest numbers.
SELECT run_id, promoted, held, share, started, until, looked, numbers FROM holdbacks
WHERE model = $model AND finished IS NULL

-- name: set_holdback_numbers
-- Record the newest numbers of a holdback.
UPDATE holdbacks SET looked = $time, numbers = $numbers WHERE run_id = $run_id

-- name: close_holdback
-- End the running holdback of a model, if there is one.
UPDATE holdbacks SET finished = $time WHERE model = $model AND finished IS NULL

-- name: arm_latency
-- Median and 95th percentile latency per version in milliseconds, over requests of the split that did not fail.
SELECT version, quantile_cont(latency_ms, 0.5) AS p50_ms, quantile_cont(latency_ms, 0.95) AS p95_ms FROM interactions
WHERE model = $model AND version IN ($old, $new) AND time >= $since AND bucket IS NOT NULL AND status < 500
GROUP BY version
