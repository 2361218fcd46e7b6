-- The plan of a holdback, like a canary's `plan`, stored at its start. Earlier holdbacks have none.
ALTER TABLE holdbacks ADD COLUMN plan JSON;
