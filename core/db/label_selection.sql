-- name: labels
-- The choice of the answer that each label is about, NULL if it names none, and who gave it.
SELECT id, choice, user_id, metadata FROM feedback WHERE id IN ($ids)

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

-- name: audit
-- Live answers of a model between two moments by `part`: `asked` were drawn to ask their users about, `other` were not, and
-- `drawn` have a label of a reviewer from the random part of the queue, and reviewers do not disagree about them.
-- `answers` counts them, `labels` those with a label, `voters` the users with labelled answers. One label per answer counts, the asker's before others, then the last.
-- Only answers count that are one of $labels. Nobody chose an answer of `asked` or `drawn`. `other` counts answers from
-- the first to the last marked one: before and after, no answer was drawn, so these differ from the marked ones in more
-- than chance.
-- The rest are sums over users of their answers `shown`, labels `votes` and labels `up` that say the answer was right. A
-- user with more than $most labels has a weight below 1. All three have it, in `asked` and `other` alike: rates of both
-- are then of the same users, and one user never counts for more than $most labels. Without weights, one user who sends
-- and labels ten thousand answers would be the audit.
WITH live AS (
    SELECT id, user_id, coalesce(nullif(user_id, ''), id) AS person, time, coalesce(asked, FALSE) AS asked,
        lower(nfc_normalize(trim(answer, E' \t\r\n\f\v'))) AS answer
    FROM interactions WHERE model = $model AND time BETWEEN $since AND $until AND status = 200 AND arm <> 'pinned'
        AND answer IS NOT NULL AND coalesce(json_array_length(choices), 1) = 1
        AND list_contains($labels::VARCHAR[], lower(nfc_normalize(trim(answer, E' \t\r\n\f\v'))))
), marked AS (
    SELECT min(time) AS first, max(time) AS last FROM live WHERE asked
), parts AS (
    SELECT *, CASE WHEN asked THEN 'asked' WHEN time BETWEEN first AND last THEN 'other' END AS part FROM live, marked
), said AS (
    SELECT interaction_id, user_id, time, arrived, starts_with(coalesce(user_id, ''), 'reviewer:') AS reviewed,
        json_extract_string(metadata, '$.source') = 'console' AND json_extract_string(metadata, '$.drawn') = 'random'
            AS is_drawn,
        lower(nfc_normalize(trim(json_extract_string(value, '$'), E' \t\r\n\f\v'))) AS label
    FROM feedback
    WHERE model = $model AND type = 'label' AND revoked_at IS NULL AND coalesce(choice, 0) = 0
        AND (NOT starts_with(coalesce(user_id, ''), 'reviewer:') OR $reviewers > 1
            OR (json_extract_string(metadata, '$.source') = 'console' AND json_extract_string(metadata, '$.drawn') = 'random'))
        AND id NOT IN (FROM quarantined_feedback)
), words AS (
    -- The last label of each reviewer.
    SELECT interaction_id, starts_with(user_id, 'reviewer:adjudicator:') AS adjudicator, bool_or(is_drawn) AS is_drawn,
        arg_max(label, (time, arrived)) AS label, max((time, arrived)) AS moment
    FROM said WHERE reviewed AND list_contains($labels::VARCHAR[], label) GROUP BY interaction_id, user_id
), answered AS (
    SELECT interaction_id, arg_max(label, moment) AS newest, arg_max(label, moment) FILTER (adjudicator) AS adjudicated,
        histogram(label) FILTER (NOT adjudicator) AS given
    FROM words GROUP BY interaction_id HAVING bool_or(is_drawn)
), settled AS (
    -- The rule of feedback/reviewer_agreement.py.
    SELECT interaction_id, CASE WHEN adjudicated IS NOT NULL THEN adjudicated WHEN $reviewers = 1 THEN newest
        ELSE list_filter(map_keys(given), lambda label: 2 * given[label] > list_sum(map_values(given)))[1] END AS label
    FROM answered
), labelled AS (
    SELECT l.id, l.person, l.part,
        CASE WHEN arg_max(s.label, (coalesce(nullif(s.user_id, ''), l.user_id) IS NOT DISTINCT FROM l.user_id, s.time,
            s.arrived)) = l.answer THEN 1.0 ELSE 0.0 END AS correct
    FROM parts l JOIN said s ON s.interaction_id = l.id
    WHERE NOT s.reviewed AND list_contains($labels::VARCHAR[], s.label)
    GROUP BY l.id, l.user_id, l.person, l.answer, l.part
    UNION ALL
    SELECT l.id, l.person, 'drawn', CASE WHEN s.label = l.answer THEN 1.0 ELSE 0.0 END
    FROM parts l JOIN settled s ON s.interaction_id = l.id WHERE s.label IS NOT NULL
), people AS (
    SELECT part, person, sum(answers) AS answers, sum(labels) AS labels, sum(correct) AS correct FROM (
        SELECT part, person, count(*) AS answers, 0 AS labels, 0 AS correct FROM parts GROUP BY part, person
        UNION ALL
        SELECT part, person, CASE part WHEN 'drawn' THEN count(*) ELSE 0 END, count(*), sum(correct) FROM labelled
        GROUP BY part, person
    ) WHERE part IS NOT NULL GROUP BY part, person
), weighted AS (
    SELECT *, least(1, $most / greatest(sum(labels) OVER (PARTITION BY person, part = 'drawn'), 1)) AS weight FROM people
), sums AS (
    SELECT part, answers, labels, answers * weight AS shown, labels * weight AS votes, correct * weight AS up FROM weighted
)
SELECT p.part, coalesce(sum(answers), 0)::BIGINT AS answers, coalesce(sum(labels), 0)::BIGINT AS labels,
    count(*) FILTER (labels > 0) AS voters, coalesce(sum(shown), 0)::DOUBLE AS shown,
    coalesce(sum(votes), 0)::DOUBLE AS votes, coalesce(sum(up), 0)::DOUBLE AS up,
    coalesce(sum(up * up), 0)::DOUBLE AS up_up, coalesce(sum(up * votes), 0)::DOUBLE AS up_votes,
    coalesce(sum(votes * votes), 0)::DOUBLE AS votes_votes, coalesce(sum(shown * shown), 0)::DOUBLE AS shown_shown,
    coalesce(sum(shown * votes), 0)::DOUBLE AS shown_votes, coalesce(sum(shown * up), 0)::DOUBLE AS shown_up
FROM (SELECT unnest(['asked', 'other', 'drawn']) AS part) p LEFT JOIN sums USING (part) GROUP BY p.part
