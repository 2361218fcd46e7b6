-- The newest interim analysis of a canary, and how many there were. Pages, alarms and metrics read these instead of
-- searching `canary_looks`, which has a row every 15 seconds.
ALTER TABLE canaries ADD COLUMN looks INTEGER DEFAULT 0;
ALTER TABLE canaries ADD COLUMN looked TIMESTAMP;
ALTER TABLE canaries ADD COLUMN numbers JSON;
UPDATE canaries SET looks = last.look,
    looked = CASE WHEN last.time >= canaries.started THEN last.time END,
    numbers = CASE WHEN last.time >= canaries.started THEN last.body END
FROM (
    SELECT run_id, max(look) AS look, max_by(time, look) AS time, max_by(body, look) AS body FROM canary_looks
    GROUP BY run_id
) last
WHERE last.run_id = canaries.run_id;
