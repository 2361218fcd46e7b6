"""How one exchange ended: one value for the record, the metrics, the traces and the limits.

Only a cause in `ABOUT_VERSION` says something about the version. A client that left, an engine that restarted or a
limit says nothing about it.
"""

import asyncio
from dataclasses import dataclass

from core.errors import EngineDown, EngineError, EngineSlow, LoraLoopError, NotLoaded, PromptRefused, ShuttingDown
from core.records import Cause
from serve.engines.http_response import ConnectionBroken

# The status that the record has of a client that left or stopped reading; no client ever sees it.
CLIENT_GONE = 499
ABOUT_VERSION: frozenset[Cause] = frozenset({"answered", "engine_error"})
# The engine may have worked for these although it did not say how many tokens it used.
UNCOUNTED_WORK: frozenset[Cause] = frozenset(
    {"client_gone", "client_slow", "engine_error", "unreachable", "timeout", "shutdown"}
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an exchange.

    `status` is the HTTP status of the answer, or for a stream, the status that says how it ended. `engine` is the URL
    of the engine that answered, if one did. `retryable` says whether the same request may succeed later.
    """

    status: int
    cause: Cause
    engine: str = ""
    retryable: bool = False

    @property
    def is_about_version(self) -> bool:
        """Whether it counts for or against the version."""
        return self.cause in ABOUT_VERSION

    def tokens(self, counted: int | None, guessed: int) -> int:
        """What the exchange is charged: the engine's count, or a guess if the engine worked and did not count."""
        return counted or (guessed if self.cause in UNCOUNTED_WORK else 0)


CLIENT_LEFT = Outcome(CLIENT_GONE, "client_gone")
CLIENT_STALLED = Outcome(CLIENT_GONE, "client_slow")


def of_status(status: int, engine: str) -> Outcome:
    """The outcome of an answer that came whole, by the status that the engine gave it."""
    if status < 400:
        return Outcome(status, "answered", engine)
    if status < 500:
        return Outcome(status, "refused", engine, retryable=status in (408, 429))
    if status == EngineSlow.status:  # of a proxy before the engine
        return Outcome(status, "timeout", engine, retryable=True)
    return Outcome(status, "engine_error", engine)


def of_error(error: BaseException) -> Outcome:
    """The outcome of an exchange that this error ended."""
    match error:
        case NotLoaded():
            cause: Cause = "not_loaded"
        case EngineSlow() | TimeoutError():
            return Outcome(EngineSlow.status, "timeout", retryable=True)
        case EngineDown():
            cause = "unreachable"
        case ConnectionBroken():
            return Outcome(EngineDown.status, "unreachable", retryable=True)
        case PromptRefused():
            cause = "refused"
        case EngineError():
            cause = "engine_error"
        case ShuttingDown() | asyncio.CancelledError():
            return Outcome(ShuttingDown.status, "shutdown", retryable=True)
        case LoraLoopError():
            cause = "refused"
        case _:
            return Outcome(500, "gateway_error")
    return Outcome(error.status, cause, retryable=error.retry)
