"""Make every engine hold exactly the adapters that it should have: check, load, verify and unload.

An engine that restarted has lost its adapters, and gets them again here.
"""

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
# Checks in a row without an answer after which gateways no longer get an engine, if another engine answers.
MISSES = 2


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
    """Works on all engines at a time.

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
        self._misses: Counter[str] = Counter()
        # Names that a change of routes needs, so that they stay loaded.
        self._pinned: Counter[str] = Counter()
        self._pinning = threading.Lock()

    @property
    def adapters_by_engine(self) -> dict[str, tuple[str, ...]] | None:
        """Each engine's URL with the names that it answers to, or None before the first check.

        While an engine does not answer, its last known names stay for a while: gateways detect the failure themselves.
        """
        if len(self._holdings) < len(self.clients):
            return None
        holdings, misses = dict(self._holdings), dict(self._misses)
        well = any(not misses.get(url) for url in holdings)
        gone = {url for url, count in misses.items() if well and count >= MISSES}
        return {url: () if url in gone else tuple(sorted(names)) for url, names in sorted(holdings.items())}

    def reconcile(
        self, wanted: Callable[[], Iterable[Version]], may_unload: Callable[[str], bool]
    ) -> list[EngineState]:
        """Load missing adapters, unload drained ones that are not needed, and return the state of each engine.

        `wanted` is called under the lock, so that its result is never out of date.
        """

        def may_go(name: str) -> bool:
            """Whether a name may be unloaded. A change of routes may have begun since `wanted` was called."""
            with self._pinning:
                if self._pinned[name] or name in {version.engine_name for version in wanted()}:
                    return False
                if not may_unload(name):
                    return False
                for url, names in self._holdings.items():
                    self._holdings[url] = names - {name}
                return True

        with self._lock:
            adapters = {v.engine_name: v for v in wanted() if v.is_adapter}
            if len(self.clients) == 1:
                return [self._try_one(self.clients[0], adapters, may_go)]
            with ThreadPoolExecutor(len(self.clients)) as pool:
                return list(pool.map(lambda client: self._try_one(client, adapters, may_go), self.clients))

    @contextmanager
    def ensure_loaded(self, version: Version) -> Iterator[None]:
        """Load a version into every engine that answers, and do not unload it in this context.

        An engine that held the version at its last check gets no request, so that a rollback waits for no engine that
        hangs. Neither does one that did not answer, if another holds the version. Raises EngineError or AdapterRefused
        when an engine cannot take the version, and EngineDown when none answers; a route must never point where
        nothing does. An engine that is down or was refused gets the version before it serves again.
        """
        name = version.engine_name
        with self._pinning:
            self._pinned[name] += 1
            holders = {url for url, names in self._holdings.items() if name in names and not self._misses[url]}
        try:
            if version.is_adapter:
                self._load_where_missing(version, holders)
            yield
        finally:
            with self._pinning:
                self._pinned[name] -= 1
                if not self._pinned[name]:
                    del self._pinned[name]

    def _load_where_missing(self, version: Version, holders: set[str]) -> None:
        lacking = [client for client in self.clients if client.url not in holders]
        if holders:
            lacking = [client for client in lacking if not self._misses[client.url]]
        if not lacking:
            return
        out: list[EngineError] = []
        with self._lock:
            for client in lacking:
                refused = self._verdicts.get(client.url)
                if refused is not None:
                    out.append(refused)
                    continue
                try:
                    self._hold(client, version)
                except EngineDown as error:
                    out.append(error)
        if out and len(out) == len(self.clients):
            raise out[0]

    def _hold(self, client: VllmClient, version: Version) -> None:
        present = client.models()
        if version.engine_name not in present:
            self.load(client, version)
            present = client.models()
        self._holdings[client.url] = frozenset(present)

    def _try_one(
        self, client: VllmClient, wanted: dict[str, Version], may_unload: Callable[[str], bool]
    ) -> EngineState:
        """Work on one engine. An engine that answers in unexpected ways does not stop the care of the others."""
        try:
            return self._one(client, wanted, may_unload)
        except Exception as error:
            log.exception("%s", client.url)
            self._holdings.setdefault(client.url, frozenset())
            return EngineState(client.url, True, (), tuple(wanted), f"unexpected {type(error).__name__}: {error}")

    def _one(self, client: VllmClient, wanted: dict[str, Version], may_unload: Callable[[str], bool]) -> EngineState:
        if not client.healthy():
            self._misses[client.url] += 1
            self._verdicts.pop(client.url, None)
            self._holdings.setdefault(client.url, frozenset())
            return EngineState(client.url, False, (), tuple(wanted), "does not answer")
        self._misses[client.url] = 0
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
