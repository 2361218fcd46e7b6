-- name: add
-- Add a freeze.
INSERT INTO frozen_models (model, time, actor, comment) VALUES ($model, $time, $actor, $comment)

-- name: find
-- The freeze of a model.
SELECT time, actor, comment FROM frozen_models WHERE model = $model

-- name: delete
-- End the freeze of a model.
DELETE FROM frozen_models WHERE model = $model
