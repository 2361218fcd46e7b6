"""The state of one engine in a gateway: its load, its failures, and whether it may get a request."""

import math
from dataclasses import dataclass

# After this many failures in a row, an engine gets no requests for ALONE_SECONDS. Then one request tries it.
FAILURES = 3
ALONE_SECONDS = 2.0
# An engine counts as sick while more than this share of its latest answers were errors.
SICK_SHARE = 0.5
# An error counts half as much after this time, in seconds.
HALF_LIFE_SECONDS = 10.0


@dataclass(slots=True)
class EngineHealth:
    """The state of one engine in a gateway.

    `failures` counts requests in a row that the engine did not take. `errors` and `answers` count answers with status
    500 and above, and all answers. Old ones count less.
    """

    load: int = 0
    failures: int = 0
    alone_until: float = 0.0
    errors: float = 0.0
    answers: float = 0.0
    counted_at: float = 0.0

    def enter(self, most: int) -> bool:
        """Count a request in unless there are `most`; return whether it was counted."""
        if self.load >= most:
            return False
        self.load += 1
        return True

    def leave(self) -> None:
        """Count a request out."""
        self.load -= 1

    def total(self) -> int:
        """Return the requests at the engine, those of other workers of the gateway included."""
        return self.load

    def answered(self, now: float, *, error: bool) -> None:
        """It answered, with an error of its own or not."""
        self.failures = 0
        self._fade(now)
        self.answers += 1
        self.errors += error

    def failed(self, now: float) -> None:
        """It took no request. After several failures in a row it is left alone, again after each further one."""
        self.failures += 1
        if self.failures >= FAILURES:
            self.alone_until = now + ALONE_SECONDS

    def open(self, now: float) -> bool:
        """Return whether the engine may get a request. After the pause, only the first request is let through."""
        if self.failures < FAILURES:
            return True
        if now < self.alone_until:
            return False
        self.alone_until = now + ALONE_SECONDS
        return True

    def probed(self, now: float, *, well: bool) -> None:
        """A probe got an answer, or none. One failed probe is enough: requests would wait as long as it did."""
        if well:
            self.failures = 0
        else:
            self.failures = max(self.failures, FAILURES)
            self.alone_until = now + ALONE_SECONDS

    def sick(self, now: float) -> bool:
        """Return whether most of its latest answers were errors: then it gets requests last."""
        if not self.errors:
            return False
        self._fade(now)
        # One answer is added that was no error, so that a single error is not most of all.
        return self.errors > SICK_SHARE * (self.answers + 1)

    def _fade(self, now: float) -> None:
        if self.answers and now > self.counted_at:
            left = math.exp2((self.counted_at - now) / HALF_LIFE_SECONDS)
            self.answers *= left
            self.errors *= left
        self.counted_at = now
