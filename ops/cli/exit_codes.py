"""The exit codes of commands, by kind, so that a script can tell one failure from another."""

from core.errors import LoraLoopError, NoTerminal

DONE = 0
FAILED = 1
USAGE = 2
# Evaluated, not promoted.
NOT_PROMOTED = 3
KEY_REFUSED = 4
NOT_FOUND = 5
# What serves, or the state of a run, is not what the command needs.
CONFLICT = 6
# A server does not answer, or is not ready.
NOT_READY = 7
# As of a program that SIGPIPE ends: 128 + 13.
BROKEN_PIPE = 141

MEANINGS = {
    DONE: "done",
    FAILED: "failed; stderr has one sentence with the fix",
    USAGE: "wrong usage",
    NOT_PROMOTED: "not promoted, with `runs start --wait --exit-code`",
    KEY_REFUSED: "the key is missing, wrong or lacks a scope",
    NOT_FOUND: "there is no such model, version, run or decision; `server status`: nothing runs",
    CONFLICT: "the present state does not allow it, for example without a canary, or with a port in use",
    NOT_READY: "a server does not answer, or is not ready",
    BROKEN_PIPE: "the reader of stdout ended first, as with `| head`",
}
BY_STATUS = {401: KEY_REFUSED, 403: KEY_REFUSED, 404: NOT_FOUND, 409: CONFLICT, 503: NOT_READY, 504: NOT_READY}


def code_of(error: LoraLoopError) -> int:
    """Return the exit code of an error, by the HTTP status that it has in the API."""
    return USAGE if isinstance(error, NoTerminal) else BY_STATUS.get(error.status, FAILED)
