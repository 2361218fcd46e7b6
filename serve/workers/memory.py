"""Memory that the workers of one gateway share: what keys used of their limits, and requests at engines.

Workers are forked from one process, which makes the memory. A worker may be killed at any moment. So the lock is one
of the kernel, which ends with its process. Each worker counts requests under way in places of its own, which
`forget` clears after its end.

Others read some numbers without the lock. Those are stored through views of numbers, which write a number at once:
`struct.pack_into` writes zeros first, which another worker can read.
"""

import fcntl
import mmap
import os
import struct
import tempfile
from hashlib import blake2b

# Records by identity, in sets of a few. A full set drops the record that was used least lately.
SETS = 2048
WAYS = 4
IDENTITY_BYTES = 16
# What a record has besides its identity: when it was used, in seconds, and four numbers of its user's choice.
NUMBERS = struct.Struct("<5d")
COUNT_BYTES = 4
# Different engines that are counted together.
ENGINES = 256
# When an engine last ended a connection during a request, and how often the configuration was read again.
HEAD_BYTES = 16

Numbers = tuple[float, float, float, float]


def identity_of(*parts: object) -> bytes:
    """What identifies a record: the hash of all that must be equal."""
    return blake2b(repr(parts).encode("utf-8", "backslashreplace"), digest_size=IDENTITY_BYTES).digest()


class SharedMemory:
    """The counters of `workers` processes. Made before they are forked; each sets `worker`, its own number from 0."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.worker = 0
        self._counts = struct.Struct(f"@{workers}i")
        self._flights = IDENTITY_BYTES + NUMBERS.size
        # Multiples of 8, so that no number crosses the border of two lines of a processor's cache.
        self._record = _eightfold(self._flights + self._counts.size)
        self._engine = struct.Struct(f"@Q{workers}i")
        self._engine_bytes = _eightfold(self._engine.size)
        # The beats of each worker; then the engines, then the records.
        self._engines = HEAD_BYTES + 8 * workers
        self._records = self._engines + ENGINES * self._engine_bytes
        self._memory = mmap.mmap(-1, self._records + SETS * WAYS * self._record)
        numbers = memoryview(self._memory)
        self._ints, self._longs, self._doubles = numbers.cast("i"), numbers.cast("Q"), numbers.cast("d")
        # Open as long as the process, and without a name.
        self._lock, path = tempfile.mkstemp(prefix="loraloop-lock-")
        os.unlink(path)

    def __enter__(self) -> "SharedMemory":
        """Waits until no other worker is inside. Threads of one worker do not wait for each other."""
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._lock, fcntl.LOCK_UN)

    @property
    def broken_at(self) -> float:
        """When an engine last ended a connection during a request, in seconds of the monotonic clock; 0 for never."""
        return self._doubles[0]

    def set_broken(self, seconds: float) -> None:
        """Takes down that an engine ended a connection now."""
        self._doubles[0] = seconds

    @property
    def reloads(self) -> int:
        """How often the gateway got a request to read its configuration again."""
        return self._longs[1]

    def count_reload(self) -> None:
        """Counts one."""
        with self:
            self._longs[1] += 1

    def beat(self) -> None:
        """Takes down that this worker answers requests."""
        self._longs[HEAD_BYTES // 8 + self.worker] += 1

    def beats(self, worker: int) -> int:
        """How often a worker took down that it answers requests; 0 for one that has not begun to."""
        return self._longs[HEAD_BYTES // 8 + worker]

    def find(self, identity: bytes, known: int | None) -> int | None:
        """Where a record is, or None if it is not there; `known` is where it last was. Only inside the lock."""
        if known is not None and self._is_at(known, identity):
            return known
        return next((place for place in self._set(identity) if self._is_at(place, identity)), None)

    def make(self, identity: bytes) -> int | None:
        """A place for a record that is not there. Only inside the lock.

        None if each record that could be dropped for it has requests under way.
        """
        free = [place for place in self._set(identity) if not any(self._counts_at(place))]
        if not free:
            return None
        place = min(free, key=lambda one: NUMBERS.unpack_from(self._memory, one + IDENTITY_BYTES)[0])
        self._memory[place : place + IDENTITY_BYTES] = identity
        return place

    def read(self, place: int) -> tuple[Numbers, int]:
        """(the numbers of a record, its requests under way at all workers). Only inside the lock."""
        _, a, b, c, d = NUMBERS.unpack_from(self._memory, place + IDENTITY_BYTES)
        return (a, b, c, d), sum(self._counts_at(place))

    def write(self, place: int, used_at: float, numbers: Numbers, under_way: int) -> None:
        """Sets the numbers of a record and its requests under way at all workers. Only inside the lock."""
        NUMBERS.pack_into(self._memory, place + IDENTITY_BYTES, used_at, *numbers)
        counts = self._counts_at(place)
        own = under_way - sum(counts) + counts[self.worker]
        self._ints[(place + self._flights) // COUNT_BYTES + self.worker] = own

    def engine(self, place: int) -> tuple[int, int]:
        """(digest of the engine at a place, requests of all workers to it)."""
        digest, *counts = self._engine.unpack_from(self._memory, place)
        return digest, sum(counts)

    def set_engine(self, place: int, requests: int) -> None:
        """Sets this worker's requests to the engine at a place."""
        self._ints[(place + 8) // COUNT_BYTES + self.worker] = requests

    def place_engine(self, digest: int, known: int | None) -> int | None:
        """The place of an engine, taken from one without requests if need be. Only inside the lock. None: all is full.

        `known` is where it last was. An engine may lose its place while it has no requests. So who counts one there
        checks the digest after that.
        """
        if known is not None and self.engine(known)[0] == digest:
            return known
        places = range(self._engines, self._records, self._engine_bytes)
        found = {place: self.engine(place) for place in places}
        for place, (there, _) in found.items():
            if there == digest:
                return place
        free = [place for place, (_, requests) in found.items() if not requests]
        for place in sorted(free, key=lambda one: found[one][0] != 0):
            self._longs[place // 8] = digest
            if not self.engine(place)[1]:
                return place
            self._longs[place // 8] = found[place][0]  # a request was counted here just before
        return None

    def forget(self, worker: int) -> None:
        """Clears what a worker that ended had under way."""
        self._longs[HEAD_BYTES // 8 + worker] = 0
        with self:
            for begin, end, size, offset in (
                (self._engines, self._records, self._engine_bytes, 8),
                (self._records, len(self._memory), self._record, self._flights),
            ):
                for place in range(begin, end, size):
                    self._ints[(place + offset) // COUNT_BYTES + worker] = 0

    def _set(self, identity: bytes) -> range:
        begin = self._records + int.from_bytes(identity[:4], "little") % SETS * WAYS * self._record
        return range(begin, begin + WAYS * self._record, self._record)

    def _is_at(self, place: int, identity: bytes) -> bool:
        return self._memory[place : place + IDENTITY_BYTES] == identity

    def _counts_at(self, place: int) -> tuple[int, ...]:
        return self._counts.unpack_from(self._memory, place + self._flights)


def _eightfold(size: int) -> int:
    return -(-size // 8) * 8
