-- name: add
-- Add interactions to the use of their days. The table has one row per model, key and day.
INSERT INTO usage_daily
SELECT model, coalesce(key_id, ''), CAST(time AS DATE), count(*), count(*) FILTER (WHERE status >= 500),
    coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0)
FROM given GROUP BY ALL
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, errors = errors + excluded.errors,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens

-- name: by_period
-- Use per period and model, or key. `hours` are the hours of each day until $now, by the share of the tokens of all models
-- on this day. $models of NULL are all. A filter of NULL filters nothing.
WITH of_day AS (
    SELECT day, sum(prompt_tokens + completion_tokens) AS tokens,
        least(24, greatest(0, epoch($now::TIMESTAMP - day::TIMESTAMP) / 3600)) AS hours
    FROM usage_daily WHERE day >= $since AND day < $until GROUP BY day
), used AS (
    SELECT day, CASE $split WHEN 'key' THEN key_id ELSE model END AS name, sum(requests) AS requests,
        sum(errors) AS errors, sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens
    FROM usage_daily WHERE day >= $since AND day < $until
        AND ($models IS NULL OR list_contains($models::VARCHAR[], model)) AND ($key IS NULL OR key_id = $key)
    GROUP BY day, name
)
SELECT CAST(date_trunc($by, u.day) AS DATE) AS period, u.name, sum(u.requests)::BIGINT AS requests,
    sum(u.errors)::BIGINT AS errors, sum(u.prompt_tokens)::BIGINT AS prompt_tokens,
    sum(u.completion_tokens)::BIGINT AS completion_tokens,
    coalesce(sum(d.hours * (u.prompt_tokens + u.completion_tokens) / nullif(d.tokens, 0)), 0)::DOUBLE AS hours
FROM used u JOIN of_day d USING (day) GROUP BY period, u.name ORDER BY period, u.name

-- name: idle_hours
-- Hours until $now of the days without a token, from the first day that was ever counted.
SELECT coalesce(sum(least(24, greatest(0, epoch($now::TIMESTAMP - day) / 3600))), 0)::DOUBLE AS hours
FROM (
    SELECT unnest(generate_series(greatest($since::TIMESTAMP, min(day)::TIMESTAMP),
        least($until::TIMESTAMP - INTERVAL 1 DAY, $now::TIMESTAMP), INTERVAL 1 DAY)) AS day
    FROM usage_daily HAVING count(*) > 0
) WHERE CAST(day AS DATE) NOT IN (
    SELECT day FROM usage_daily WHERE day >= $since GROUP BY day HAVING sum(prompt_tokens + completion_tokens) > 0
)
