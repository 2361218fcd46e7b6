-- Votes that no snapshot may use: those of every quarantine that was not released.
CREATE VIEW quarantined_feedback AS
SELECT DISTINCT q.feedback_id FROM quarantine_rows q JOIN quarantines b ON b.id = q.quarantine_id
WHERE b.state <> 'released';
