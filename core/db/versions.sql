-- name: add
-- Add a version.
INSERT INTO versions VALUES ($model, $version, $engine_name, $path, $sha256, $rank, $run_id, $time, $kind)

-- name: find
-- One version by its model and number.
SELECT model, version, engine_name, path, sha256, rank, run_id, if(path IS NULL, 'base', kind) AS kind
FROM versions WHERE model = $model AND version = $version

-- name: made
-- When one version was made, and what it is.
SELECT time, rank, if(path IS NULL, 'base', kind) AS kind FROM versions WHERE model = $model AND version = $version

-- name: next_number
-- The next free version number of a model.
SELECT max(version) + 1 AS version FROM versions WHERE model = $model

-- name: of_model
-- Every version of a model, oldest first.
SELECT v.model, v.version, if(v.path IS NULL, 'base', v.kind) AS kind, v.engine_name, v.sha256, v.rank, v.run_id, v.time,
    r.snapshot, CAST(r.detail ->> '$.forgetting.value' AS DOUBLE) AS forgetting
FROM versions v LEFT JOIN runs r ON r.id = v.run_id WHERE v.model = $model ORDER BY v.version

-- name: taken_back
-- Of each version of a model, or of one, the votes of its training data that were revoked since, or are in quarantine now. A version
-- without any is left out.
SELECT version, count(DISTINCT feedback_id) FILTER (is_revoked) AS revoked,
    count(DISTINCT feedback_id) FILTER (NOT is_revoked) AS in_quarantine
FROM (
    SELECT v.version, s.feedback_id, s.feedback_id IN (FROM quarantined_feedback) AS is_held,
        s.feedback_id IN (SELECT id FROM feedback WHERE revoked_at IS NOT NULL) AS is_revoked
    FROM versions v JOIN runs r ON r.id = v.run_id
    JOIN snapshot_rows s ON s.snapshot = r.snapshot AND s.bucket = 'train'
    WHERE v.model = $model AND ($version IS NULL OR v.version = $version)
)
WHERE is_revoked OR is_held GROUP BY version ORDER BY version

-- name: retrieval_folder
-- The folder of a retrieval version by its content hash.
SELECT path FROM versions WHERE sha256 = $sha256 AND kind = 'retrieval' LIMIT 1

-- name: to_load
-- Versions of these models that engines must hold.
WITH current AS (
    SELECT * FROM routes QUALIFY row_number() OVER (PARTITION BY model ORDER BY rev DESC) = 1
), to_load AS (
    SELECT model, champion AS version FROM current
    UNION SELECT model, canary FROM current WHERE canary IS NOT NULL
    UNION SELECT model, previous FROM current WHERE previous IS NOT NULL
    UNION SELECT model, anchor FROM current WHERE canary IS NOT NULL AND holdback > 0
    UNION SELECT model, candidate FROM runs
    WHERE candidate IS NOT NULL AND state IN ('evaluating', 'measuring', 'canary', 'awaiting_approval')
    UNION SELECT model, candidate FROM (
        -- A model's newest candidate stays loaded after every verdict, so that people can test it.
        SELECT model, candidate FROM runs WHERE candidate IS NOT NULL AND state = 'finished'
        QUALIFY row_number() OVER (PARTITION BY model ORDER BY started DESC) = 1
    )
)
SELECT v.model, v.version, v.engine_name, v.path, v.sha256, v.rank, v.run_id, if(v.path IS NULL, 'base', v.kind) AS kind
FROM versions v JOIN to_load w ON w.model = v.model AND w.version = v.version
WHERE v.model IN (SELECT unnest($models::VARCHAR[])) ORDER BY v.model, v.version

-- name: by_engine_name
-- The version that an engine name belongs to.
SELECT model, version FROM versions WHERE engine_name = $engine_name

-- name: folders
-- The folder of every version that has one.
SELECT path FROM versions WHERE path IS NOT NULL ORDER BY path

-- name: move_folders
-- Set the parent folder of all versions, after a restore. The folders' names stay.
UPDATE versions SET path = $folder || '/' || regexp_extract(path, '[^/]+$') WHERE path IS NOT NULL
