-- Use per model, key and day, counted in the transaction that ingests it. Prompts and answers have separate prices, so
-- their tokens are separate here. A key of '' is none.
CREATE TABLE usage_daily (
    model VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL,
    day DATE NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    PRIMARY KEY (model, key_id, day)
);
INSERT INTO usage_daily
SELECT model, coalesce(key_id, ''), CAST(time AS DATE), count(*), count(*) FILTER (WHERE status >= 500),
    coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0)
FROM interactions GROUP BY ALL;

-- Interactions that retention has deleted are in the traffic of their day only. Their keys are not known, and their tokens
-- count as tokens of prompts.
INSERT INTO usage_daily
SELECT t.model, '', t.day, t.requests - coalesce(u.requests, 0), greatest(t.errors - coalesce(u.errors, 0), 0),
    greatest(t.tokens - coalesce(u.tokens, 0), 0), 0
FROM (
    SELECT model, day, sum(requests) AS requests, sum(errors) AS errors, sum(tokens) AS tokens
    FROM traffic_daily GROUP BY ALL
) t LEFT JOIN (
    SELECT model, day, sum(requests) AS requests, sum(errors) AS errors, sum(prompt_tokens + completion_tokens) AS tokens
    FROM usage_daily GROUP BY ALL
) u ON u.model = t.model AND u.day = t.day
WHERE t.requests > coalesce(u.requests, 0)
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, errors = errors + excluded.errors,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens;
