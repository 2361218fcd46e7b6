-- name: add
-- Add an API key.
INSERT INTO api_keys (id, name, digest, scopes, models, requests_per_minute, tokens_per_minute, concurrent, expires,
                      created, creator)
VALUES ($id, $key_name, $digest, $scopes, $models, $requests_per_minute, $tokens_per_minute, $concurrent, $expires,
        $created, $creator)

-- name: all_keys
-- Every API key without its hashes, newest first.
SELECT id, name, scopes, models, requests_per_minute, tokens_per_minute, concurrent, expires, created, creator,
       rotated, previous_until, revoked
FROM api_keys ORDER BY created DESC, id

-- name: live
-- Every API key that was not revoked. The check of a request also checks the expiry.
SELECT id, name, digest, scopes, models, requests_per_minute, tokens_per_minute, concurrent, expires, previous_digest,
       previous_until
FROM api_keys WHERE revoked IS NULL ORDER BY id

-- name: find
-- One API key by its id.
SELECT id, name, revoked FROM api_keys WHERE id = $id

-- name: count
-- Number of API keys.
SELECT count(*) AS n FROM api_keys

-- name: revoke
-- Revoke an API key.
UPDATE api_keys SET revoked = $time WHERE id = $id

-- name: rotate
-- Replace the secret of an API key.
UPDATE api_keys SET previous_digest = digest, previous_until = $previous_until, digest = $digest, rotated = $time
WHERE id = $id
