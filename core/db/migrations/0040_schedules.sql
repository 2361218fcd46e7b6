-- When the cron line of each model next starts a run, so that the next start of control sees what it missed.
CREATE TABLE schedules (
    model VARCHAR PRIMARY KEY,
    line VARCHAR NOT NULL,
    due TIMESTAMP NOT NULL
);
