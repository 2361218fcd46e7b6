"""Find engines that hold the versions that some work needs, and wait for one or retry if it disappears."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from core.errors import EngineDown, EngineFailed
from core.records import Version
from serve.engines.control_client import VllmClient
from serve.engines.reconciler import Reconciler

log = logging.getLogger(__name__)

# Work that an engine, or control's process, ended so often is likely to be what ends it.
MOST_CUTS = 3
PAUSE_SECONDS = 1.0
Found = TypeVar("Found")


class EngineLease:
    """Lends engines out."""

    def __init__(self, reconciler: Reconciler, wanted: Callable[[], Iterable[Version]], timeout_s: float) -> None:
        self._reconciler = reconciler
        self._wanted = wanted
        self._timeout_s = timeout_s

    def with_engine_serving(self, versions: Sequence[Version], work: Callable[[VllmClient], Found]) -> Found:
        """Work that keeps what it has when an engine goes away, and goes on once that is back."""
        for _ in range(MOST_CUTS):
            client = self._awaited(versions)
            try:
                return work(client)
            except EngineDown as error:
                log.warning("an evaluation was cut short: %s", error)
        return work(self._awaited(versions))

    def _awaited(self, versions: Sequence[Version]) -> VllmClient:
        """An engine that holds the versions, once one does. Raises EngineDown when that takes too long."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return self._one(versions)
            except EngineDown:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_SECONDS)

    def _one(self, versions: Sequence[Version]) -> VllmClient:
        """Return an engine that holds the versions. One is enough: a promotion checks every engine separately.

        Raises EngineDown while one that may come to hold them does not answer, and EngineFailed where none can.
        """
        names = {version.engine_name for version in versions}
        states = self._reconciler.reconcile(self._wanted, may_unload=lambda _: False)
        found = list(zip(self._reconciler.clients, states, strict=True))
        able = [(state.error, client) for client, state in found if state.healthy and names.isdisjoint(state.missing)]
        if able:
            return min(able, key=lambda one: bool(one[0]))[1]  # one without a fault, if there is
        faults = " ".join(f"{client.url}: {state.error}" for client, state in found)
        wanted = " and ".join(version.public_name for version in versions)
        if all(state.healthy for state in states):
            raise EngineFailed(f"No engine could take {wanted}: {faults}")
        raise EngineDown(f"No engine that answers holds {wanted}: {faults}", hint="See the engines' logs.")
