-- name: at_most
-- Number of votes of $types that arrived later than $until and may be about a model. A preference has no model of its own.
SELECT count(*) AS n FROM feedback
WHERE arrived > $until AND list_contains($types, type) AND revoked_at IS NULL
    AND (model = $model OR (model IS NULL AND type = 'preference'))

-- name: count
-- Number of answers, or of pairs of answers, with a new vote of $types that arrived later than $until, per key and user,
-- and the number of voters. A vote without a user is by the user of the answer. A voter who says the same again adds
-- nothing. A rating counts if it is not $middle. With $compares, a correction counts if it has an answer to compare with.
WITH found AS (
    SELECT id, type, value, interaction_id, key_id, user_id,
        CASE WHEN type = 'preference' THEN json_extract_string(value, '$.chosen') ELSE interaction_id END AS answer_id,
        CASE WHEN type = 'preference' THEN json_extract_string(value, '$.rejected') ELSE '' END AS other_id
    FROM feedback
    WHERE arrived > $until AND list_contains($types, type) AND revoked_at IS NULL
        AND (model = $model OR (model IS NULL AND type = 'preference'))
        AND (type <> 'rating' OR TRY_CAST(value::VARCHAR AS DOUBLE) <> $middle)
        AND id NOT IN (FROM quarantined_feedback)
), new AS (
    SELECT f.*, i.user_id AS asker, least(answer_id, other_id) AS one, greatest(answer_id, other_id) AS two
    FROM found f JOIN interactions i ON i.id = f.answer_id
    WHERE i.model = $model AND (NOT $compares OR f.type <> 'correction' OR i.answer IS NOT NULL)
), known AS (
    SELECT interaction_id, type, value, key_id, user_id FROM feedback
    WHERE arrived <= $until AND revoked_at IS NULL
        AND interaction_id IN (SELECT interaction_id FROM found WHERE type <> 'preference')
    UNION ALL
    SELECT interaction_id, type, value, key_id, user_id FROM feedback
    WHERE arrived <= $until AND revoked_at IS NULL AND type = 'preference'
        AND value IN (SELECT value FROM found WHERE type = 'preference')
)
SELECT count(DISTINCT (one, two, coalesce(key_id, ''), coalesce(user_id, ''))) AS answers,
    count(DISTINCT (coalesce(key_id, ''), coalesce(nullif(user_id, ''), asker, ''))) AS voters
FROM new n WHERE NOT EXISTS (
    FROM known k WHERE k.type = n.type AND k.value = n.value AND k.interaction_id IS NOT DISTINCT FROM n.interaction_id
        AND k.key_id IS NOT DISTINCT FROM n.key_id AND k.user_id IS NOT DISTINCT FROM n.user_id
)
