"""Which workers of a gateway hang: each adds to a count in shared memory as long as its event loop runs."""

from collections.abc import Mapping

BEAT_SECONDS = 5.0
# Time between two looks of the supervisor at the counts.
LOOK_SECONDS = 20.0
# Looks after the first at which the count of a worker that hangs is the same. It counts looks and not seconds: after a
# pause of the machine or container, all counts are old.
SILENT_LOOKS = 3


class Heartbeats:
    """What the supervisor saw at its looks."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, int]] = {}

    def look(self, beats: Mapping[int, int]) -> list[int]:
        """The numbers of the workers that hang. `beats` are the counts by worker, of those that answer requests."""
        seen = {worker: self._seen.get(worker, (-1, 0)) for worker in beats}
        self._seen = {
            worker: (beat, seen[worker][1] + 1 if seen[worker][0] == beat else 0) for worker, beat in beats.items()
        }
        return [worker for worker, (_, looks) in self._seen.items() if looks >= SILENT_LOOKS]
