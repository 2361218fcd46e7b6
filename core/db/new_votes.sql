-- name: at_most
-- Number of votes per place of $place, of the $type at the same place of its list, that arrived later than $until and may
-- be about a $model, without those in quarantine. A preference has no model of its own. $since is the earliest $until: DuckDB
-- skips older blocks by it.
WITH asked AS (
    SELECT unnest($place::INTEGER[]) AS place, unnest($model::VARCHAR[]) AS model, unnest($until::TIMESTAMP[]) AS until,
        unnest($type::VARCHAR[]) AS type
)
SELECT a.place, count(*) AS n FROM asked a JOIN feedback f ON f.type = a.type AND f.arrived > a.until
    AND (f.model = a.model OR (f.model IS NULL AND f.type = 'preference'))
WHERE f.arrived > $since AND f.revoked_at IS NULL
    AND f.id NOT IN (FROM quarantined_feedback)
GROUP BY a.place

-- name: count
-- Number of answers, or of pairs of answers, with a new vote of $types that arrived later than $until, per key and user,
-- and the number of voters. A vote without a user is by the user of the answer. A voter who says the same again adds
-- nothing. A rating counts if it is not $middle. With $compares, a correction counts if it has an answer to compare with.
-- Answers are read for votes that need them: a join with all interactions takes a second.
WITH found AS (
    SELECT id, type, value, interaction_id, key_id, user_id, asker,
        CASE WHEN type = 'preference' THEN json_extract_string(value, '$.chosen') ELSE interaction_id END AS answer_id,
        CASE WHEN type = 'preference' THEN json_extract_string(value, '$.rejected') ELSE '' END AS other_id,
        type = 'preference' OR ($compares AND type = 'correction') AS needs_answer
    FROM feedback
    WHERE arrived > $until AND list_contains($types, type) AND revoked_at IS NULL
        AND (model = $model OR (model IS NULL AND type = 'preference'))
        AND (type <> 'rating' OR TRY_CAST(value::VARCHAR AS DOUBLE) <> $middle)
        AND id NOT IN (FROM quarantined_feedback)
), known AS (
    SELECT interaction_id, type, value, key_id, user_id FROM feedback
    WHERE arrived <= $until AND revoked_at IS NULL
        AND interaction_id IN (SELECT interaction_id FROM found WHERE type <> 'preference')
    UNION ALL
    SELECT interaction_id, type, value, key_id, user_id FROM feedback
    WHERE arrived <= $until AND revoked_at IS NULL AND type = 'preference'
        AND value IN (SELECT value FROM found WHERE type = 'preference')
), new AS (
    SELECT answer_id, least(answer_id, other_id) AS one, greatest(answer_id, other_id) AS two, type, needs_answer,
        coalesce(key_id, '') AS "key", coalesce(user_id, '') AS "user", coalesce(user_id, asker, '') AS voter
    FROM found n ANTI JOIN known k ON k.type = n.type AND k.value = n.value
        AND k.interaction_id IS NOT DISTINCT FROM n.interaction_id AND k.key_id IS NOT DISTINCT FROM n.key_id
        AND k.user_id IS NOT DISTINCT FROM n.user_id
    WHERE answer_id IS NOT NULL
), counted AS (
    FROM new WHERE NOT needs_answer
    UNION ALL
    SELECT n.* FROM new n JOIN interactions i ON i.id = n.answer_id
    WHERE n.needs_answer AND i.model = $model AND (n.type = 'preference' OR i.answer IS NOT NULL)
)
SELECT (SELECT count(*) FROM (SELECT DISTINCT one, two, "key", "user" FROM counted)) AS answers,
    (SELECT count(*) FROM (SELECT DISTINCT "key", voter FROM counted)) AS voters
