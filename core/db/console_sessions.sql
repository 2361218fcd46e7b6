-- name: add
-- Add a session.
INSERT INTO console_sessions (digest, issuer, subject, email, groups, began, expires)
VALUES ($digest, $issuer, $subject, $email, $groups, $began, $expires)

-- name: find
-- The session of a cookie, unless it has expired.
SELECT issuer, subject, email, groups FROM console_sessions WHERE digest = $digest AND expires > $now

-- name: delete
-- Delete the session of a cookie.
DELETE FROM console_sessions WHERE digest = $digest

-- name: delete_expired
-- Delete the sessions that have expired.
DELETE FROM console_sessions WHERE expires <= $now

-- name: delete_all
-- Delete every session.
DELETE FROM console_sessions
