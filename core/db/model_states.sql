-- name: of
-- The present state of each of these models: its route, since when its champion serves, its newest decisions, the run that has
-- not ended, its freeze and its holdback. One query for all models: each query costs a millisecond or two, however few rows.
WITH asked AS MATERIALIZED (
    SELECT unnest($models::VARCHAR[]) AS model
), route AS MATERIALIZED (
    SELECT r.* FROM routes r SEMI JOIN asked a ON a.model = r.model
    QUALIFY row_number() OVER (PARTITION BY r.model ORDER BY r.rev DESC) = 1
), other AS (
    SELECT r.model, max(r.rev) AS rev FROM routes r JOIN route c ON c.model = r.model AND c.champion <> r.champion
    GROUP BY r.model
), begun AS (
    SELECT r.model, arg_min({'time': r.time, 'decision': r.decision_id}, r.rev) AS first
    FROM routes r SEMI JOIN asked a ON a.model = r.model LEFT JOIN other o ON o.model = r.model
    WHERE r.rev > coalesce(o.rev, 0) GROUP BY r.model
), decided AS (
    SELECT d.model, max(d.seq) AS newest,
        arg_max({'time': d.time, 'version': d.to_version}, d.seq) FILTER (d.verdict = 'promoted') AS promoted,
        arg_max({'time': d.time, 'version': d.to_version}, d.seq) FILTER (d.verdict = 'rolled_back') AS rolled_back
    FROM decisions d SEMI JOIN asked a ON a.model = d.model GROUP BY d.model
), working AS (
    SELECT model, arg_min({'id': id, 'state': state}, started) AS run FROM runs WHERE finished IS NULL GROUP BY model
)
SELECT c.model, c.rev, c.champion, c.canary, c.share, c.previous, c.salt, c.holdback, c.anchor,
    b.first.time AS since, b.first.decision AS since_decision, d.newest AS newest_decision,
    d.promoted.time AS promoted, d.promoted.version AS promoted_version,
    d.rolled_back.time AS rolled_back, d.rolled_back.version AS rolled_back_version,
    w.run.id AS run, w.run.state AS run_state,
    f.time AS frozen, f.actor AS frozen_by, f.comment AS frozen_comment,
    h.held, h.share AS held_share, h.started AS held_since, h.until AS held_until, h.looked AS held_looked,
    h.numbers AS held_numbers
FROM route c LEFT JOIN begun b ON b.model = c.model LEFT JOIN decided d ON d.model = c.model
LEFT JOIN working w ON w.model = c.model LEFT JOIN frozen_models f ON f.model = c.model
LEFT JOIN holdbacks h ON h.model = c.model AND h.finished IS NULL
