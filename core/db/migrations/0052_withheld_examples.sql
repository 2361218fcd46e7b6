-- Why examples of a retrieval are not shown any more: flags on their answers, and votes that were taken back or held. An
-- interaction is flagged where it is named; else the example is the vote's own. `feedback_id` is '' once the flag is
-- erased. Retention and erasure may delete the feedback, and the example must not come back then.
CREATE TABLE withheld_examples (
    model VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    interaction_id VARCHAR,
    feedback_id VARCHAR NOT NULL,
    since TIMESTAMP NOT NULL
);
