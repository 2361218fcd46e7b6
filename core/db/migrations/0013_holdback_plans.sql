-- What a holdback is judged by, as a canary's `plan`: written down when it begins. None has one from before.
ALTER TABLE holdbacks ADD COLUMN plan JSON;
