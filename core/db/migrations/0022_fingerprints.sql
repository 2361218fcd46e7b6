-- MinHash signatures of prompts, so that a snapshot computes those of new prompts only. A signature belongs to a version
-- of what the prompts of its model share.
CREATE TABLE fingerprints (
    interaction_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    words BLOB NOT NULL,
    pieces BLOB NOT NULL
);

-- Hashes of what many prompts of a model share. Signatures leave it out.
CREATE TABLE common_parts (
    model VARCHAR PRIMARY KEY,
    version INTEGER NOT NULL,
    template BLOB NOT NULL,
    passages BLOB NOT NULL
);
