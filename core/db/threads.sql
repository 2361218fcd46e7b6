-- name: one
-- Give DuckDB one thread.
SET threads = 1

-- name: default
-- Give DuckDB a thread per core again.
RESET threads
