"""The exit codes of commands, by kind, so that a script can tell one failure from another."""

DONE = 0
FAILED = 1
USAGE = 2
# Evaluated, not promoted.
NOT_PROMOTED = 3
NOT_FOUND = 5
# A server does not answer, or is not ready.
NOT_READY = 7
