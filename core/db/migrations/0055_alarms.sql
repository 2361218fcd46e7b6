-- Alarms that began and have not ended, once they passed their hold time. `sent` is the time of the newest message
-- about it, NULL while it is silenced. There is no key: all rows are replaced together.
CREATE TABLE alarms (
    name VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    model VARCHAR,
    sentence VARCHAR NOT NULL,
    fix VARCHAR NOT NULL,
    since TIMESTAMP NOT NULL,
    opened TIMESTAMP NOT NULL,
    sent TIMESTAMP
);
-- What is sent about alarms, in this order. Only the newest events are kept.
CREATE TABLE alarm_events (
    seq BIGINT PRIMARY KEY,
    id VARCHAR NOT NULL,
    time TIMESTAMP NOT NULL,
    change VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    model VARCHAR,
    sentence VARCHAR NOT NULL,
    fix VARCHAR NOT NULL,
    since TIMESTAMP NOT NULL
);
-- No message is sent about these alarms before `until`. A subject of NULL is every subject of the alarm.
CREATE TABLE alarm_silences (
    name VARCHAR NOT NULL,
    subject VARCHAR,
    until TIMESTAMP NOT NULL,
    actor VARCHAR NOT NULL,
    comment VARCHAR NOT NULL
);
-- The newest backup that failed. One row at most.
CREATE TABLE backup_failures (time TIMESTAMP NOT NULL, reason VARCHAR NOT NULL);
