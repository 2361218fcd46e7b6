"""Make every engine hold exactly the adapters that it should have: check, load, verify and unload.

An engine that restarted has lost its adapters, and gets them again here.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from core.errors import AdapterRefused, EngineDown, EngineError
from core.prompts import Chat
from core.records import Version
from serve.engines.control_client import VllmClient

log = logging.getLogger(__name__)

PROBE = Chat((("user", "Is this adapter alive? Answer yes or no."),))
# A smaller difference is not visible in bfloat16: the adapter has no effect.
LEAST_DIFFERENCE = 1e-4


@dataclass(frozen=True, slots=True)
class EngineState:
    """What one engine holds after a check."""

    url: str
    healthy: bool
    adapters: tuple[str, ...]
    missing: tuple[str, ...]
    error: str = ""

    @property
    def ready(self) -> bool:
        """Whether it answers and has every adapter that it should."""
        return self.healthy and not self.missing


SelfCheck = Callable[[VllmClient], str]
"""Says in a sentence what it found of a fresh engine, or raises EngineError for one that must not serve."""


class Reconciler:
    """Works on all engines, one after another.

    An engine is checked before it gets adapters: a new one that holds none, or one that lost its adapters. An engine
    that holds adapters was checked before it got them, perhaps by an earlier process.
    """

    def __init__(self, clients: Sequence[VllmClient], *, base_name: str, self_check: SelfCheck) -> None:
        self.clients = clients
        self._lock = threading.RLock()
        self.base_name = base_name
        self._self_check = self_check
        self._verdicts: dict[str, EngineError | None] = {}
        self._holdings: dict[str, frozenset[str]] = {}

    @property
    def adapters_by_engine(self) -> dict[str, tuple[str, ...]] | None:
        """Each engine's URL with the names that it answers to, or None before the first check.

        While an engine does not answer, its last known names stay: gateways detect the failure themselves.
        """
        if len(self._holdings) < len(self.clients):
            return None
        return {url: tuple(sorted(names)) for url, names in sorted(self._holdings.items())}

    def reconcile(
        self, wanted: Callable[[], Iterable[Version]], may_unload: Callable[[str], bool]
    ) -> list[EngineState]:
        """Load missing adapters, unload drained ones that are not needed, and return the state of each engine.

        `wanted` is called under the lock, so that its result is never out of date.
        """
        with self._lock:
            adapters = {v.engine_name: v for v in wanted() if v.is_adapter}
            return [self._one(client, adapters, may_unload) for client in self.clients]

    @contextmanager
    def ensure_loaded(self, version: Version) -> Iterator[None]:
        """Load a version into every engine that answers, and unload nothing in this context.

        Raises EngineError or AdapterRefused when one cannot take it, and EngineDown when none answers; a route
        must never point where nothing does. An engine that is down gets the version before it serves again.
        """
        with self._lock:
            down: list[EngineDown] = []
            for client in self.clients:
                try:
                    self._hold(client, version)
                except EngineDown as error:
                    down.append(error)
            if down and len(down) == len(self.clients):
                raise down[0]
            yield

    def _hold(self, client: VllmClient, version: Version) -> None:
        if version.is_adapter and version.engine_name not in client.models():
            self.load(client, version)
            self._holdings[client.url] = frozenset(client.models())

    def _one(self, client: VllmClient, wanted: dict[str, Version], may_unload: Callable[[str], bool]) -> EngineState:
        if not client.healthy():
            self._verdicts.pop(client.url, None)
            self._holdings.setdefault(client.url, frozenset())
            return EngineState(client.url, False, (), tuple(wanted), "does not answer")
        try:
            present = frozenset(client.models() - {self.base_name})
            self._check(client, present, wanted)
            faults = self._load_all(client, [wanted[name] for name in sorted(wanted.keys() - present)])
            for name in sorted(present - wanted.keys()):
                if may_unload(name):
                    client.unload(name)
                    log.info("%s: unloaded %s", client.url, name)
            present = frozenset(client.models() - {self.base_name})
        except EngineError as error:
            log.error("%s: %s", client.url, error)
            self._holdings.setdefault(client.url, frozenset())
            return EngineState(client.url, True, (), tuple(wanted), str(error))
        self._holdings[client.url] = present | {self.base_name}
        missing = tuple(sorted(wanted.keys() - present))
        return EngineState(client.url, True, tuple(sorted(present)), missing, " ".join(faults))

    def _check(self, client: VllmClient, present: frozenset[str], wanted: dict[str, Version]) -> None:
        """Lets a fresh engine serve only once it is known to keep adapters apart. Raises EngineError."""
        held = self._holdings.get(client.url, frozenset()) - {self.base_name}
        if held - present:
            self._verdicts.pop(client.url, None)
        elif client.url not in self._verdicts and present & wanted.keys():
            self._verdicts[client.url] = None
        if client.url not in self._verdicts:
            try:
                log.info("%s: %s", client.url, self._self_check(client))
                self._verdicts[client.url] = None
            except EngineDown:
                raise
            except EngineError as error:
                self._verdicts[client.url] = error
        refused = self._verdicts[client.url]
        if refused is not None:
            self._holdings[client.url] = frozenset()
            raise refused

    def _load_all(self, client: VllmClient, versions: Sequence[Version]) -> list[str]:
        """What went wrong with which adapter; one that is refused does not keep the others out."""
        faults = []
        for version in versions:
            try:
                self.load(client, version)
            except EngineDown:
                raise
            except (EngineError, AdapterRefused) as error:
                log.error("%s: %s", client.url, error)
                faults.append(str(error))
        return faults

    def load(self, client: VllmClient, version: Version) -> None:
        """Loads an adapter and verifies that it changes what the engine says. Raises AdapterRefused."""
        client.load(version.engine_name, str(version.path))
        try:
            difference = self._difference(client, version)
        except EngineError:
            # An adapter that was not verified is unloaded, or the next check would accept it.
            with contextlib.suppress(EngineError):
                client.unload(version.engine_name)
            raise
        if not difference >= LEAST_DIFFERENCE:  # nor if it is no number
            client.unload(version.engine_name)
            raise AdapterRefused(
                f"{version.public_name} was loaded but answers like the base model.",
                hint="Its module names match nothing in the engine, or its weights are zero.",
            )
        log.info("%s: loaded %s", client.url, version.engine_name)

    def _difference(self, client: VllmClient, version: Version) -> float:
        """How far the adapter moves the probe's log-probabilities from the base model's, at most."""
        tokens = [client.first_token(self.base_name, text) for text in ("yes", "no", "I", "The")]
        of_base = client.score(self.base_name, PROBE, tokens).logprobs
        of_adapter = client.score(version.engine_name, PROBE, tokens).logprobs
        return max(abs(a - b) for a, b in zip(of_base, of_adapter, strict=True))
