-- name: key_add
INSERT INTO api_keys (id, name, digest, scopes, models, requests_per_minute, tokens_per_minute, concurrent, expires,
                      created, creator)
VALUES ($id, $key_name, $digest, $scopes, $models, $requests_per_minute, $tokens_per_minute, $concurrent, $expires,
        $created, $creator)

-- name: keys_all
-- Without their digests, newest first.
SELECT id, name, scopes, models, requests_per_minute, tokens_per_minute, concurrent, expires, created, creator,
       rotated, previous_until, revoked
FROM api_keys ORDER BY created DESC, id

-- name: keys_live
-- What opens something; expiry is checked by whoever checks the key.
SELECT id, name, digest, scopes, models, requests_per_minute, tokens_per_minute, concurrent, expires, previous_digest,
       previous_until
FROM api_keys WHERE revoked IS NULL ORDER BY id

-- name: key_get
SELECT id, name, revoked FROM api_keys WHERE id = $id

-- name: keys_count
SELECT count(*) AS n FROM api_keys

-- name: key_revoke
UPDATE api_keys SET revoked = $time WHERE id = $id

-- name: key_rotate
UPDATE api_keys SET previous_digest = digest, previous_until = $previous_until, digest = $digest, rotated = $time
WHERE id = $id
