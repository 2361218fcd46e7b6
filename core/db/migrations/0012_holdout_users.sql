-- Users in each generation of a holdout. When a bucket is used up, its next generation, h1.2, h1.3 and so on, has other
-- users.
CREATE TABLE holdout_users (
    model VARCHAR NOT NULL,
    holdout VARCHAR NOT NULL,
    "user" VARCHAR NOT NULL,
    PRIMARY KEY (model, holdout, "user")
);
-- Earlier releases used all rows of the bucket in the run's snapshot. A user's key is the one of feedback/split.py.
INSERT INTO holdout_users
SELECT DISTINCT u.model, u.bucket, CASE
    WHEN coalesce(i.user_id, '') <> '' THEN 'user:' || i.user_id
    WHEN coalesce(i.conversation_id, '') <> '' THEN 'conversation:' || i.conversation_id
    ELSE 'interaction:' || i.id
END
FROM holdout_uses u
JOIN runs r ON r.id = u.run_id
JOIN snapshot_rows s ON s.snapshot = r.snapshot AND s.bucket = u.bucket
JOIN interactions i ON i.id = s.interaction_id;
