-- Models that change nothing automatically until a person ends the freeze: who froze them, when and why.
CREATE TABLE frozen_models (
    model VARCHAR PRIMARY KEY,
    time TIMESTAMP NOT NULL,
    actor VARCHAR NOT NULL,
    comment VARCHAR NOT NULL
);
-- When a person paused the canary. NULL while it serves users.
ALTER TABLE canaries ADD COLUMN paused TIMESTAMP;
