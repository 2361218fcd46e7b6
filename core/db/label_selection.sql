-- name: choices
-- The choice of the answer that each vote is about. It is NULL if the vote names none.
SELECT id, choice FROM feedback WHERE id IN ($ids)

-- name: thumbs
-- Sums over the voters of a model's thumbs between two moments: thumbs up, thumbs, their squares and product. A voter is
-- an app and a user. The last thumb of a voter on an answer counts. Thumbs of reviewers, in quarantine, or taken back do
-- not. The thumbs of a voter with more than $most are scaled down to $most.
WITH apps AS (
    SELECT id, min(id) OVER (PARTITION BY name) AS app FROM api_keys
), last AS (
    SELECT coalesce(a.app, f.key_id, '') AS app, coalesce(nullif(f.user_id, ''), i.user_id) AS voter, f.interaction_id,
        CASE WHEN arg_max(f.value, (f.time, f.arrived))::VARCHAR = 'true' THEN 1.0 ELSE 0.0 END AS up
    FROM feedback f JOIN interactions i ON i.id = f.interaction_id LEFT JOIN apps a ON a.id = f.key_id
    WHERE f.model = $model AND f.type = 'thumbs' AND f.time BETWEEN $since AND $until AND f.revoked_at IS NULL
        AND coalesce(nullif(f.user_id, ''), i.user_id) IS NOT NULL AND NOT starts_with(coalesce(f.user_id, ''), 'reviewer:')
        AND f.id NOT IN (FROM quarantined_feedback)
    GROUP BY ALL
), voters AS (
    SELECT sum(up) * least(1, $most / count(*)) AS up, least(count(*), $most) AS votes FROM last GROUP BY app, voter
)
SELECT count(*) AS voters, coalesce(sum(up), 0) AS up, coalesce(sum(votes), 0)::DOUBLE AS votes,
    coalesce(sum(up * up), 0) AS up_up, coalesce(sum(up * votes), 0) AS up_votes,
    coalesce(sum(votes * votes), 0)::DOUBLE AS votes_votes
FROM voters
