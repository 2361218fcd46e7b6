-- name: put
-- Add a trial of a run, or replace what is known of it.
INSERT OR REPLACE INTO trials (run_id, number, state, trial_values, scores, score, figures, seconds, reason)
VALUES ($run_id, $number, $state, $values, $scores, $score, $figures, $seconds, $reason)

-- name: of_run
-- The trials of a run by number. A trial in progress when its run ended is stopped.
SELECT t.number, CASE WHEN t.state = 'running' AND r.finished IS NOT NULL THEN 'stopped' ELSE t.state END AS state,
    t.trial_values, t.scores, t.score, t.figures, t.seconds, t.reason
FROM trials t LEFT JOIN runs r ON r.id = t.run_id WHERE t.run_id = $run_id ORDER BY t.number

-- name: last_search
-- The newest run of a model whose search by a method has ended with a score, with what is kept of the search.
SELECT id, json_extract(detail, '$.search') AS search FROM runs
WHERE model = $model AND json_extract_string(detail, '$.search.ended') = 'true'
    AND json_extract_string(detail, '$.search.method') = $method
    AND EXISTS (SELECT 1 FROM trials WHERE trials.run_id = runs.id AND trials.score IS NOT NULL)
ORDER BY started DESC, id DESC LIMIT 1
