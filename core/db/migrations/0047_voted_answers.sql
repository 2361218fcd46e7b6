-- What snapshots need of answers that have votes, so that they read only answers with new votes. `choice` is -1 for a vote
-- that names no choice. `answer` is the text of the choice, and NULL without `has_text`: a model that generates does not
-- need it. A row goes with the text of its interaction.
-- Whenever `voted_answers.read` makes other rows, a migration must delete those that are here.
CREATE TABLE voted_answers (
    interaction_id VARCHAR NOT NULL,
    choice INTEGER NOT NULL,
    model VARCHAR NOT NULL,
    has_text BOOLEAN NOT NULL,
    answer VARCHAR USING COMPRESSION zstd,
    asker VARCHAR,
    finish_reason VARCHAR,
    choice_unknown BOOLEAN NOT NULL,
    status INTEGER NOT NULL
);
