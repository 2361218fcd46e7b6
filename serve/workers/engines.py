"""What the workers of a gateway share about engines: requests under way, and requests that ended connections."""

from collections import defaultdict
from collections.abc import Callable
from hashlib import blake2b

from serve.engines.engine_health import EngineHealth
from serve.engines.suspects import MOST_BREAKS, REMEMBERED_SECONDS, Suspects
from serve.workers.memory import SharedMemory, identity_of


class SharedEngineHealth(EngineHealth):
    """The state of one engine. Each worker finds out alone whether it is well; `enter` counts for all together."""

    def __init__(self, memory: SharedMemory, url: str) -> None:
        super().__init__()
        self._memory = memory
        self._digest = int.from_bytes(blake2b(url.encode(), digest_size=8).digest(), "little") | 1
        self._place: int | None = None

    def enter(self, most: int) -> bool:
        """Count a request in unless all workers together have `most`; return whether it was counted.

        It is counted first and the sum compared after that. A count is written in one piece. So two workers cannot
        both take the last place.
        """
        if self._place is None:
            return self._enter_alone(most)
        memory, place = self._memory, self._place
        if memory.engine(place)[0] != self._digest:
            return self._enter_alone(most)  # the place has another engine, for which this worker may count
        memory.set_engine(place, self.load + 1)
        digest, total = memory.engine(place)
        if digest == self._digest and total <= most:
            self.load += 1
            return True
        memory.set_engine(place, self.load)
        return self._enter_alone(most)

    def leave(self) -> None:
        """Count a request out."""
        self.load -= 1
        if self._place is not None:
            self._memory.set_engine(self._place, self.load)

    def total(self) -> int:
        """Return the requests of all workers."""
        if self._place is not None:
            digest, total = self._memory.engine(self._place)
            if digest == self._digest:
                return total
        return self.load

    def _enter_alone(self, most: int) -> bool:
        """The same, one worker after the other: two that met at the last place have both given it back."""
        with self._memory:
            # Without a place, for which hundreds of engines must be in use, this worker counts alone.
            self._place = self._memory.place_engine(self._digest, self._place)
            if self._place is None:
                return super().enter(most)
            self._memory.set_engine(self._place, self.load + 1)
            if self.total() > most:
                self._memory.set_engine(self._place, self.load)
                return False
            self.load += 1
            return True


class SharedEngines(defaultdict[str, EngineHealth]):
    """The states of engines by URL."""

    def __init__(self, memory: SharedMemory) -> None:
        super().__init__()
        self._memory = memory

    def __missing__(self, url: str) -> EngineHealth:
        """A new one."""
        state = self[url] = SharedEngineHealth(self._memory, url)
        return state


class SharedSuspects(Suspects):
    """Bodies on which engines ended connections, at any worker. Forked processes have the same key of Python's hash."""

    def __init__(self, memory: SharedMemory, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._memory = memory

    def broke(self, body: int) -> None:
        """Count a connection that ended while an engine had the body with this digest."""
        now, identity = self._clock(), identity_of("body", body)
        with self._memory as memory:
            place = memory.find(identity, None)
            (count, at, *_), _ = ((0.0, now), 0) if place is None else memory.read(place)
            if place is None:
                place = memory.make(identity)
            if place is not None:
                memory.write(place, now, (count + 1 if now - at < REMEMBERED_SECONDS else 1, now, 0, 0), 0)
            memory.set_broken(now)

    def refuses(self, body: int) -> bool:
        """Return whether the body with this digest broke the maximum number of connections lately."""
        if self._clock() - self._memory.broken_at >= REMEMBERED_SECONDS:
            return False  # no body did, and each request asks
        with self._memory as memory:
            place = memory.find(identity_of("body", body), None)
            if place is None:
                return False
            (count, at, *_), _ = memory.read(place)
        return count >= MOST_BREAKS and self._clock() - at < REMEMBERED_SECONDS
