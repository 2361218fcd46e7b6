-- name: add
-- Add the signatures in the table `given`.
INSERT INTO fingerprints SELECT interaction_id, model, version, words, pieces FROM given

-- name: find
-- Signatures of the interactions in the table `wanted`, of one version of what is common. `place` is the row of `wanted`.
SELECT w.place, f.words, f.pieces FROM fingerprints f JOIN wanted w ON w.interaction_id = f.interaction_id
WHERE f.model = $model AND f.version = $version

-- name: delete_model
-- Delete the signatures of a model.
DELETE FROM fingerprints WHERE model = $model

-- name: common
-- What the prompts of a model share.
SELECT version, template, passages FROM common_parts WHERE model = $model

-- name: set_common
-- Set what the prompts of a model share.
INSERT INTO common_parts VALUES ($model, $version, $template, $passages)
ON CONFLICT DO UPDATE SET version = excluded.version, template = excluded.template, passages = excluded.passages
