-- name: feedback_counts
-- A model of NULL in a row stands for feedback whose interaction has not been seen (yet).
SELECT i.model, f.type, count(*) AS n, count(f.revoked_at) AS revoked, max(f.time) AS newest
FROM feedback f LEFT JOIN interactions i ON i.id = f.interaction_id
WHERE $model IS NULL OR i.model = $model GROUP BY ALL ORDER BY ALL

-- name: feedback_by_version
-- Of a model's five newest versions that have feedback, so that the number of series stays bounded.
SELECT i.model, i.version, i.arm, f.type, count(*) AS n FROM feedback f JOIN interactions i ON i.id = f.interaction_id
WHERE f.revoked_at IS NULL GROUP BY i.model, i.version, i.arm, f.type
QUALIFY dense_rank() OVER (PARTITION BY i.model ORDER BY i.version DESC) <= 5

-- name: feedback_orphans
SELECT count(*) AS n FROM feedback f
WHERE f.interaction_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM interactions i WHERE i.id = f.interaction_id)

-- name: decisions_by_verdict
SELECT model, verdict, count(*) AS n FROM decisions GROUP BY ALL
