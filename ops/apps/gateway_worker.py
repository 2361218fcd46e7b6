"""A process of a gateway: the only one, or one of several workers that share limits and answer for each other."""

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from core.errors import LoraLoopError, NotReady
from ops.apps.changed_settings import Changes
from ops.apps.worker_heartbeats import BEAT_SECONDS
from serve.gateway.authentication import Meter
from serve.stored_completions.routes import SHIPPED_SECONDS
from serve.workers import metrics
from serve.workers.channel import WorkerChannel, WorkerFailed
from serve.workers.engines import SharedEngines, SharedSuspects
from serve.workers.limits import SharedKeyLimits
from serve.workers.memory import SharedMemory

log = logging.getLogger(__name__)

# The signal by which a worker tells the supervisor that the workers reload.
RELOADED = signal.SIGUSR1
RELOAD_SECONDS = 30.0
# Load balancers ask often and do not wait long.
STATE_SECONDS = 1.0
READY, STATE, METRICS, FLUSH, RELOAD = "ready", "state", "metrics", "flush", "reload"
YES, NO = b"yes", b"no"

State = dict[str, Any]


class Own(Protocol):
    """What one process of a gateway says of itself and does."""

    def ready(self) -> bool:
        """Whether requests can be answered."""
        ...

    def state(self) -> State:
        """The rest of what `/ready` says."""
        ...

    def metrics(self) -> str:
        """Of `/metrics`."""
        ...

    async def flush(self, seconds: float) -> bool:
        """Ships what is spooled; returns whether control has all of it."""
        ...

    def reload(self) -> Changes:
        """Reads the configuration again; blocks. Raises SettingsError or NotReady."""
        ...


class OnlyWorker:
    """The process of a gateway without further workers. `own` is set by the app that it is part of."""

    own: Own

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.name = gateway
        self.count = 1

    @property
    def is_first(self) -> bool:
        """Whether it does what one process of a gateway does for all."""
        return True

    def pool_options(self) -> dict[str, Any]:
        """What an EnginePool of this process is given."""
        return {}

    def meter(self) -> Meter | None:
        """What counts the use of keys, if it is not the default."""
        return None

    async def open(self) -> None:
        """The app began."""

    def close(self) -> None:
        """The app ends."""

    async def ready(self) -> bool:
        """Whether the gateway can answer requests."""
        return self.own.ready()

    async def state(self) -> State:
        """The state of the gateway."""
        return self.own.state()

    async def metrics(self) -> str:
        """The metrics of the gateway, for Prometheus."""
        return self.own.metrics()

    async def flush(self, seconds: float) -> bool:
        """Has control ingest what was spooled until now; returns whether it has."""
        return await self.own.flush(seconds)

    async def reload(self) -> Changes:
        """Has the gateway read its configuration again. Raises SettingsError or NotReady."""
        return await asyncio.to_thread(self.own.reload)


class SharingWorker(OnlyWorker):
    """One of several workers.

    `parent` is a pipe that ends with the process `supervisor`, `reloads` those whose settings this worker has.
    """

    def __init__(
        self,
        gateway: str,
        number: int,
        *,
        memory: SharedMemory,
        sockets: Path,
        parent: int,
        supervisor: int,
        reloads: int,
    ) -> None:
        super().__init__(gateway)
        self.name = worker_name(gateway, number)
        self.count = memory.workers
        self._number = number
        self._memory = memory
        memory.worker = number
        self._channel = WorkerChannel(sockets, number, self.count)
        self._parent = parent
        self._supervisor = supervisor
        self._reloads = reloads
        self._is_orphan = False

    @property
    def is_first(self) -> bool:
        """See OnlyWorker."""
        return self._number == 0

    def pool_options(self) -> dict[str, Any]:
        """See OnlyWorker."""
        return {"states": SharedEngines(self._memory), "suspects": SharedSuspects(self._memory, time.monotonic)}

    def meter(self) -> Meter:
        """See OnlyWorker."""
        return lambda grant, now: SharedKeyLimits(self._memory, grant, now)

    async def open(self) -> None:
        """Begins to answer the other workers, and to end when the supervisor does."""
        asyncio.get_running_loop().add_reader(self._parent, self._end)
        await self._channel.open(
            {
                READY: self._ready,
                STATE: self._state,
                METRICS: self._metrics,
                FLUSH: self._flush,
                RELOAD: self._reload,
            }
        )
        self._beating = asyncio.create_task(self._beat())
        if self._memory.reloads != self._reloads:
            await self._reload_late()

    def close(self) -> None:
        """See OnlyWorker."""
        asyncio.get_running_loop().remove_reader(self._parent)
        self._beating.cancel()
        self._channel.close()
        if self._is_orphan:
            self._channel.remove()  # the supervisor would have

    async def ready(self) -> bool:
        """Whether all workers that run can answer requests. One that does not run gets none."""
        others = await self._channel.ask(READY, STATE_SECONDS)
        return self.own.ready() and all(found in (YES, None) for found in others.values())

    async def state(self) -> State:
        """The states of all workers that run, as one."""
        found = await self._channel.ask(STATE, STATE_SECONDS)
        states = [self.own.state(), *(json.loads(each) for each in found.values() if isinstance(each, bytes))]
        return combine(states) | {"workers": self.count, "workers_answering": len(states)}

    async def metrics(self) -> str:
        """The metrics of all workers that run."""
        texts = {self._number: self.own.metrics()}
        for number, text in (await self._channel.ask(METRICS)).items():
            if isinstance(text, bytes):
                texts[number] = text.decode()
        return metrics.merge({worker_name(self.gateway, number): texts[number] for number in sorted(texts)})

    async def flush(self, seconds: float) -> bool:
        """The same for the spools of all workers. That of one that does not run is incomplete."""
        own, others = await asyncio.gather(self.own.flush(seconds), self._channel.ask(FLUSH, seconds + 1))
        return own and all(found == YES for found in others.values())

    async def reload(self) -> Changes:
        """Has all workers reload. One that is just starting reads the file anyway."""
        changes = await super().reload()
        self._memory.count_reload()
        if os.getppid() == self._supervisor:  # it runs
            os.kill(self._supervisor, RELOADED)
        for number, found in (await self._channel.ask(RELOAD, RELOAD_SECONDS)).items():
            if isinstance(found, WorkerFailed):
                name = worker_name(self.gateway, number)
                raise NotReady(f"The worker {name} did not reload: {found}.", hint="Reload again, or restart.")
        return changes

    async def _beat(self) -> None:
        while True:
            self._memory.beat()
            await asyncio.sleep(BEAT_SECONDS)

    async def _reload_late(self) -> None:
        """Reloads, as the others did while this one started."""
        try:
            await asyncio.to_thread(self.own.reload)
        except LoraLoopError as error:
            log.error("the configuration was not reloaded, nothing changed: %s", error)

    def _end(self) -> None:
        self._is_orphan = True
        asyncio.get_running_loop().remove_reader(self._parent)
        os.kill(os.getpid(), signal.SIGTERM)

    async def _ready(self) -> bytes:
        return YES if self.own.ready() else NO

    async def _state(self) -> bytes:
        return json.dumps(self.own.state()).encode()

    async def _metrics(self) -> bytes:
        return self.own.metrics().encode()

    async def _flush(self) -> bytes:
        return YES if await self.own.flush(SHIPPED_SECONDS) else NO

    async def _reload(self) -> bytes:
        return str(await super().reload()).encode()


def worker_name(gateway: str, number: int) -> str:
    """A worker's name, by which control has it. The first has the gateway's; no gateway can have that of another."""
    return gateway if number == 0 else f"{gateway}_{number + 1}"


def combine(states: Iterable[Mapping[str, Any]]) -> State:
    """The states of workers as one: what must be true of all, and sums."""
    combined: State = {}
    for state in states:
        for name, value in state.items():
            if name not in combined:
                combined[name] = value
            elif isinstance(value, bool):
                combined[name] = combined[name] and value
            else:
                combined[name] += value
    return combined
