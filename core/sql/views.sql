-- name: feedback_counts
-- A model of NULL in a row stands for feedback whose interaction has not been seen (yet).
SELECT i.model, f.type, count(*) AS n, count(f.revoked_at) AS revoked, max(f.time) AS newest
FROM feedback f LEFT JOIN interactions i ON i.id = f.interaction_id
WHERE $model IS NULL OR i.model = $model GROUP BY ALL ORDER BY ALL

-- name: decisions_by_verdict
SELECT model, verdict, count(*) AS n FROM decisions GROUP BY ALL
