-- Who started a run, and their comment. Every decision of the run contains both, also after a restart.
ALTER TABLE runs ADD COLUMN actor VARCHAR DEFAULT 'scheduler';
ALTER TABLE runs ADD COLUMN comment VARCHAR DEFAULT '';
