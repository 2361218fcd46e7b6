-- Whether an interaction was drawn at random, and its answer marked, so that the app asks its user for a label. NULL for
-- interactions from before there was a draw.
ALTER TABLE interactions ADD COLUMN asked BOOLEAN;
-- Why each label or correction was given. `asked`: its answer was drawn. `drawn`: a reviewer got the answer from the random
-- part of the console's queue. `reviewer`: a reviewer chose it. `volunteered`: a user chose it.
CREATE VIEW label_origins AS
SELECT f.id AS feedback_id, CASE
    WHEN starts_with(coalesce(f.user_id, ''), 'reviewer:') THEN CASE
        WHEN json_extract_string(f.metadata, '$.source') = 'console'
            AND json_extract_string(f.metadata, '$.drawn') = 'random' THEN 'drawn'
        ELSE 'reviewer' END
    WHEN i.asked THEN 'asked'
    ELSE 'volunteered' END AS origin
FROM feedback f LEFT JOIN interactions i ON i.id = f.interaction_id
WHERE f.type IN ('label', 'correction');
