-- name: route_current
SELECT model, rev, champion, canary, share, previous, salt, holdback FROM routes WHERE model = $model
ORDER BY rev DESC LIMIT 1

-- name: routes_current
SELECT model, rev, champion, canary, share, previous, salt, holdback FROM routes
QUALIFY row_number() OVER (PARTITION BY model ORDER BY rev DESC) = 1

-- name: route_add
INSERT INTO routes
VALUES ($model, $rev, $time, $champion, $canary, $share, $previous, $salt, $decision_id, $holdback)

-- name: routes_of
-- What served when, newest first.
SELECT rev, time, champion, canary, share, previous, holdback, decision_id FROM routes WHERE model = $model ORDER BY rev DESC

-- name: version_add
INSERT INTO versions VALUES ($model, $version, $engine_name, $path, $sha256, $rank, $run_id, $time, $kind)

-- name: version_get
SELECT model, version, engine_name, path, sha256, rank, run_id, if(path IS NULL, 'base', kind) AS kind
FROM versions WHERE model = $model AND version = $version

-- name: version_next
SELECT max(version) + 1 AS version FROM versions WHERE model = $model

-- name: versions_of
SELECT model, version, if(path IS NULL, 'base', kind) AS kind, engine_name, sha256, rank, run_id, time FROM versions
WHERE model = $model ORDER BY version

-- name: retrieval_folder
SELECT path FROM versions WHERE sha256 = $sha256 AND kind = 'retrieval' LIMIT 1

-- name: versions_wanted
-- What engines must hold for these models.
WITH current AS (
    SELECT * FROM routes QUALIFY row_number() OVER (PARTITION BY model ORDER BY rev DESC) = 1
), wanted AS (
    SELECT model, champion AS version FROM current
    UNION SELECT model, canary FROM current WHERE canary IS NOT NULL
    UNION SELECT model, previous FROM current WHERE previous IS NOT NULL
    UNION SELECT model, candidate FROM runs
    WHERE candidate IS NOT NULL AND state IN ('evaluating', 'measuring', 'canary', 'awaiting_approval')
    UNION SELECT model, candidate FROM (
        -- A model's newest candidate stays, whatever was decided of it, for those who want to look at it.
        SELECT model, candidate FROM runs WHERE candidate IS NOT NULL AND state = 'finished'
        QUALIFY row_number() OVER (PARTITION BY model ORDER BY started DESC) = 1
    )
)
SELECT v.model, v.version, v.engine_name, v.path, v.sha256, v.rank, v.run_id, if(v.path IS NULL, 'base', v.kind) AS kind
FROM versions v JOIN wanted w ON w.model = v.model AND w.version = v.version
WHERE v.model IN (SELECT unnest($models::VARCHAR[])) ORDER BY v.model, v.version

-- name: version_named
SELECT model, version FROM versions WHERE engine_name = $engine_name

-- name: failed_since
SELECT count(*) AS n FROM interactions WHERE model = $model AND time >= $since AND status >= 500

-- name: version_folders
SELECT path FROM versions WHERE path IS NOT NULL ORDER BY path

-- name: versions_move
-- After a restore the adapters are elsewhere; their folders' own names never change.
UPDATE versions SET path = $folder || '/' || regexp_extract(path, '[^/]+$') WHERE path IS NOT NULL

-- name: switches_unfinished
-- The newest route of each model, where it changed the champion and no event row says how the switch went.
WITH history AS (
    SELECT *, lag(champion) OVER (PARTITION BY model ORDER BY rev) AS from_version,
        row_number() OVER (PARTITION BY model ORDER BY rev DESC) AS place
    FROM routes
)
SELECT h.model, h.champion, h.from_version, h.decision_id, d.run_id FROM history h JOIN decisions d ON d.id = h.decision_id
WHERE h.place = 1 AND h.champion <> h.from_version AND NOT EXISTS (
    SELECT 1 FROM decisions e WHERE e.model = h.model AND e.verdict = 'switched' AND e.seq > d.seq
)
