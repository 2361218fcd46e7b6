"""Remember requests that were on an engine when it ended its connection, because some requests end an engine."""

from collections import OrderedDict
from collections.abc import Callable

# A body that broke this many connections is not sent again while it is remembered.
MOST_BREAKS = 2
REMEMBERED_SECONDS = 60.0
REMEMBERED_BODIES = 1024


class Suspects:
    """Digests of request bodies with the number of connections that ended during them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._breaks: OrderedDict[int, tuple[int, float]] = OrderedDict()

    def broke(self, body: int) -> None:
        """Count a connection that ended while an engine had the body with this digest."""
        now = self._clock()
        count, at = self._breaks.pop(body, (0, now))
        self._breaks[body] = (count + 1 if now - at < REMEMBERED_SECONDS else 1, now)
        if len(self._breaks) > REMEMBERED_BODIES:
            self._breaks.popitem(last=False)

    def refuses(self, body: int) -> bool:
        """Return whether the body with this digest broke the maximum number of connections lately."""
        count, at = self._breaks.get(body, (0, 0.0))
        return count >= MOST_BREAKS and self._clock() - at < REMEMBERED_SECONDS


def digest(body: bytes) -> int:
    """What identifies a body: Python's hash. Its key is drawn at each start, so that clients cannot make two alike."""
    return hash(body)
