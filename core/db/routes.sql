-- name: current
-- The current route of a model.
SELECT model, rev, champion, canary, share, previous, salt, holdback, anchor FROM routes WHERE model = $model
ORDER BY rev DESC LIMIT 1

-- name: all_current
-- The current route of every model.
SELECT model, rev, champion, canary, share, previous, salt, holdback, anchor FROM routes
QUALIFY row_number() OVER (PARTITION BY model ORDER BY rev DESC) = 1

-- name: add
-- Add a route: it becomes the current one.
INSERT INTO routes
VALUES ($model, $rev, $time, $champion, $canary, $share, $previous, $salt, $decision_id, $holdback, $anchor)

-- name: history
-- Every route of a model, newest first.
SELECT rev, time, champion, canary, share, previous, holdback, anchor, decision_id FROM routes WHERE model = $model ORDER BY rev DESC

-- name: serving
-- What serves every model now.
SELECT model, champion, canary, share, holdback FROM routes
QUALIFY row_number() OVER (PARTITION BY model ORDER BY rev DESC) = 1

-- name: newest
-- The newest routes of a model.
SELECT rev, time, champion, canary, share, previous, holdback, anchor, decision_id FROM routes
WHERE model = $model ORDER BY rev DESC LIMIT $limit

-- name: last_served
-- The champion before a version and its anchor, when the version was last the champion. No row if it never was.
SELECT previous, anchor FROM routes WHERE model = $model AND champion = $champion ORDER BY rev DESC LIMIT 1

-- name: with_decisions
-- The current route of every model with its decision, with the route that the decision recorded, and with the newest
-- later decision that recorded a route of the model.
SELECT r.model, r.rev, r.champion, r.canary, r.share, r.previous, r.holdback, r.anchor, r.decision_id, d.seq, d.from_version,
    d.to_version, json_extract(d.body, '$.live.route')::VARCHAR AS recorded, (
        SELECT max(e.seq) FROM decisions e
        WHERE e.model = r.model AND e.seq > coalesce(d.seq, 0) AND json_extract(e.body, '$.live.route') IS NOT NULL
    ) AS newer
FROM (SELECT * FROM routes QUALIFY row_number() OVER (PARTITION BY model ORDER BY rev DESC) = 1) r
LEFT JOIN decisions d ON d.id = r.decision_id ORDER BY r.model

-- name: unfinished_switches
-- Newest routes that changed the champion and have no decision that reports the result of the switch.
WITH history AS (
    SELECT *, lag(champion) OVER (PARTITION BY model ORDER BY rev) AS from_version,
        row_number() OVER (PARTITION BY model ORDER BY rev DESC) AS place
    FROM routes
)
SELECT h.model, h.champion, h.from_version, h.decision_id, d.run_id FROM history h JOIN decisions d ON d.id = h.decision_id
WHERE h.place = 1 AND h.champion <> h.from_version AND NOT EXISTS (
    SELECT 1 FROM decisions e WHERE e.model = h.model AND e.verdict = 'switched' AND e.seq > d.seq
)
