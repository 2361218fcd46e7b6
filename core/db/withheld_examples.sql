-- name: of_version
-- Why examples of a version are withheld: the flags, and the votes that were taken back or held.
SELECT interaction_id, feedback_id FROM withheld_examples WHERE model = $model AND version = $version

-- name: stored
-- Those of these feedback ids that are stored.
SELECT id FROM feedback WHERE id IN ($ids)

-- name: add
-- Record why examples of a version are withheld.
INSERT INTO withheld_examples
SELECT unnest($model::VARCHAR[]), unnest($version::INTEGER[]), unnest($interaction_id::VARCHAR[]),
    unnest($feedback_id::VARCHAR[]), unnest($since::TIMESTAMP[])

-- name: remove
-- Forget one cause of a version.
DELETE FROM withheld_examples WHERE model = $model AND version = $version AND feedback_id = $feedback
    AND interaction_id IS NOT DISTINCT FROM $interaction
