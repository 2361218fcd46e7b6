-- Who asked for a run, and what they said of it: the ledger's rows of the run name both, after a restart too.
ALTER TABLE runs ADD COLUMN actor VARCHAR DEFAULT 'scheduler';
ALTER TABLE runs ADD COLUMN comment VARCHAR DEFAULT '';
