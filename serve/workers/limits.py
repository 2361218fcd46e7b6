"""Limits of keys that hold for all workers of a gateway together."""

from types import TracebackType

from core.api_keys import Grant
from serve.gateway.authentication import KeyLimits, TokenBucket
from serve.workers.memory import SharedMemory, identity_of

UNUSED = (0.0, 0.0)


class SharedKeyLimits(KeyLimits):
    """What one key has used of its limits at all workers. Other limits of the key begin with full buckets."""

    def __init__(self, memory: SharedMemory, grant: Grant, now: float) -> None:
        super().__init__(grant.limits, now)
        self._memory = memory
        self._identity = identity_of("key", grant.id, grant.limits)
        self._place: int | None = None
        # Requests under way that are in no record.
        self._alone = 0
        self._now = now

    def enter(self, now: float) -> dict[str, str]:
        """See KeyLimits."""
        self._now = now
        with self:
            return super().enter(now)

    def reserve(self, tokens: int, now: float) -> float:
        """See KeyLimits."""
        self._now = now
        with self:
            return super().reserve(tokens, now)

    def leave(self, tokens: float) -> None:
        """See KeyLimits."""
        with self:
            super().leave(tokens)

    def __enter__(self) -> None:
        """Takes the state of all workers, which none of them changes until the block ends."""
        memory = self._memory
        memory.__enter__()
        self._place = memory.find(self._identity, self._place)
        if self._place is None:
            # Without a place, for which thousands of keys must be in use, this worker counts alone.
            self._place = memory.make(self._identity)
            self._flying = self._alone
            if self._place is not None:
                self._begin()
            return
        numbers, counted = memory.read(self._place)
        self._flying = counted + self._alone
        if self._requests:
            self._requests.restore(numbers[0], numbers[1])
        if self._tokens:
            self._tokens.restore(numbers[2], numbers[3])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._place is None:
            self._alone = self._flying
        else:
            self._alone = 0
            numbers = (*_state(self._requests), *_state(self._tokens))
            self._memory.write(self._place, self._now, numbers, self._flying)
        self._memory.__exit__()

    def _begin(self) -> None:
        for bucket in (self._requests, self._tokens):
            if bucket:
                bucket.fill(self._now)


def _state(bucket: TokenBucket | None) -> tuple[float, float]:
    return bucket.state if bucket else UNUSED
