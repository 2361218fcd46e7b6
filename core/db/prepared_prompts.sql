-- name: find
-- The prepared prompts of the interactions in the table `wanted`, by the same rules.
SELECT p.interaction_id, p.prompt, p.scrubbed, p.replaced, p.text_hash, p.unreadable
FROM prepared_prompts p JOIN wanted w ON w.interaction_id = p.interaction_id WHERE p.rules = $rules

-- name: add
-- Add the prompts in the table `given` that are not stored: two snapshots may prepare the same ones at the same time. A text
-- that was deleted or erased since it was read is not added.
INSERT INTO prepared_prompts BY NAME
SELECT * FROM given g WHERE NOT EXISTS (FROM prepared_prompts p WHERE p.interaction_id = g.interaction_id)
    AND (g.prompt IS NULL OR g.interaction_id NOT IN (SELECT id FROM erased_interactions) AND EXISTS (
        FROM interactions i WHERE i.id = g.interaction_id AND i.texts_deleted IS NULL))

-- name: delete_others
-- Delete the prompts of a model that other rules made.
DELETE FROM prepared_prompts WHERE model = $model AND rules <> $rules
