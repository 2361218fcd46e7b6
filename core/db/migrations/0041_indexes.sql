-- What was said under an id before, and the revocations of an id, are found without a scan.
CREATE INDEX feedback_history_by_feedback ON feedback_history (feedback_id);
CREATE INDEX revocations_by_feedback ON revocations (feedback_id);
