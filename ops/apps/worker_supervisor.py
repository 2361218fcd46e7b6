"""Start the workers of a gateway, which accept connections on the same sockets, and restart one that dies.

Workers are forked, so a new one needs neither imports nor memory of its own for the code. For that reason this process
has no event loop and starts no thread. Threads that libraries start when they are imported do nothing then, and the
libraries (OpenBLAS, jemalloc) have handlers for forks. This process takes signals one after the other, and answers no
requests.
"""

import gc
import logging
import math
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core import logs
from core.errors import LoraLoopError, SettingsError
from core.settings import Settings
from ops.apps.changed_settings import GATEWAY
from ops.apps.gateway_worker import RELOADED, SharingWorker, worker_name
from ops.apps.http_server import open_sockets
from ops.apps.reload import read_again
from ops.apps.worker_heartbeats import LOOK_SECONDS, Heartbeats
from ops.local.restart_delay import STEADY_SECONDS, restart_delay
from ops.local.shutdown import WORKER_SECONDS
from serve.workers.memory import SharedMemory

log = logging.getLogger(__name__)

ENDING = (signal.SIGTERM, signal.SIGINT)
WAITED = (*ENDING, signal.SIGHUP, signal.SIGCHLD, RELOADED)

Serve = Callable[[Settings, SharingWorker, list[socket.socket]], None]


@dataclass(slots=True)
class Slot:
    """The place of one worker. `pid` is None between its death and its restart, which is at `restart_at`.

    `has_begun` says that a worker answered requests here once.
    """

    number: int
    pid: int | None = None
    began: float = 0.0
    deaths: int = 0
    restart_at: float = 0.0
    has_begun: bool = False


class WorkerSupervisor:
    """The workers of one gateway. `serve` is what a worker runs; it returns when the worker is to end."""

    def __init__(self, settings: Settings, config: Path | None, serve: Serve) -> None:
        self._settings = settings
        self._config = config
        self._serve = serve
        self._gateway = settings.gateway.name
        self._end_seconds = settings.gateway.drain_seconds + WORKER_SECONDS
        self._slots = [Slot(number) for number in range(settings.gateway.workers)]
        self._memory = SharedMemory(len(self._slots))
        self._reloads = 0
        self._heartbeats = Heartbeats()
        self._look_at = 0.0
        self._ending = False
        self._end_by = math.inf
        self._failed = False
        self._sockets: list[socket.socket] = []
        self._folder = Path()
        self._pid = os.getpid()
        # Workers see the end of the supervisor at the end of this pipe.
        self._pipe = (-1, -1)

    def run(self) -> int:
        """Runs until a signal ends it, and returns the exit code.

        Raises NotReady if the address cannot be used, and SettingsError on a system that cannot have workers.
        """
        if not hasattr(signal, "sigtimedwait"):  # on macOS
            raise SettingsError(
                f"gateway.workers is {len(self._slots)}, and this system cannot supervise workers.",
                hint="Set gateway.workers to 1, or run the gateway on Linux.",
            )
        self._sockets = open_sockets(self._settings.gateway.listen)
        self._folder = Path(tempfile.mkdtemp(prefix="loraloop-"))
        self._pipe = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
        gc.collect()
        gc.freeze()  # so that the collector of a worker does not copy the pages that all share
        try:
            for slot in self._slots:
                self._start(slot)
            self._say_addresses()
            while any(slot.pid for slot in self._slots) or not self._ending:
                self._wait()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        return 1 if self._failed else 0

    def _say_addresses(self) -> None:
        for each in self._sockets:
            host, port = each.getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            log.info("%s listens on http://%s:%d with %d workers", self._gateway, host, port, len(self._slots))

    def _wait(self) -> None:
        """Waits for one signal or for a time at which something is due, and acts on it."""
        due = [slot.restart_at for slot in self._slots if slot.pid is None and not self._ending]
        wait = min([self._look_at, self._end_by, *due]) - time.monotonic()
        found = signal.sigtimedwait(WAITED, max(0.0, wait))
        if found is not None and found.si_signo in ENDING:
            self._end()
        elif found is not None and found.si_signo == signal.SIGHUP:
            self._memory.count_reload()
            self.reload()
            self._send(signal.SIGHUP)
        elif found is not None and found.si_signo == RELOADED:
            self.reload()
        self._reap()
        self._kill_hung(time.monotonic())
        for slot in self._slots:
            if slot.pid is None and not self._ending and time.monotonic() >= slot.restart_at:
                self._start(slot)

    def _kill_hung(self, now: float) -> None:
        """Kills workers whose event loop does not run, and at the end all that take longer than they may."""
        if now >= self._end_by:
            log.error("workers have not ended in %.0f s, so they are killed", self._end_seconds)
            self._send(signal.SIGKILL)
            self._end_by = math.inf
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        running = {slot.number: slot.pid for slot in self._slots if slot.pid is not None}
        beats = {number: self._memory.beats(number) for number in running if self._memory.beats(number)}
        for number in [] if self._ending else self._heartbeats.look(beats):
            log.error("the worker %s hangs, so it is killed", worker_name(self._gateway, number))
            os.kill(running[number], signal.SIGKILL)

    def reload(self) -> None:
        """Takes what can change of the file, for this process and for workers that it starts from now on.

        It reads the file when the workers do. Later edits wait for the next reload, at a worker that restarts too.
        """
        self._reloads = self._memory.reloads
        self._settings = read_again(self._settings, self._config, GATEWAY)
        logs.change(self._settings.logs)

    def _end(self) -> None:
        """Has the workers end their requests; the second time, end at once."""
        self._send(signal.SIGINT if self._ending else signal.SIGTERM)
        self._end_by = min(self._end_by, time.monotonic() + self._end_seconds)
        self._ending = True
        for each in self._sockets:
            each.close()

    def _send(self, number: int) -> None:
        for slot in self._slots:
            if slot.pid is not None:
                os.kill(slot.pid, number)  # not reaped, so the id is still its own

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid is None:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if pid:
                self._take_down(slot, os.waitstatus_to_exitcode(status))

    def _take_down(self, slot: Slot, code: int) -> None:
        """A worker ended, with an exit code or minus the number of a signal."""
        begun, slot.pid = self._memory.beats(slot.number) > 0, None
        self._memory.forget(slot.number)
        if self._ending:
            return
        name, now = worker_name(self._gateway, slot.number), time.monotonic()
        steady = begun and now - slot.began > STEADY_SECONDS
        slot.has_begun |= begun
        if code > 0 and not slot.has_begun:
            log.error("the worker %s cannot start, so the gateway ends", name)
            self._failed = True
            self._end()
            return
        slot.deaths = 1 if steady else slot.deaths + 1
        delay = restart_delay(slot.deaths)
        slot.restart_at = now + delay
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        log.error("the worker %s %s; restarting in %.0f s", name, how, delay)

    def _start(self, slot: Slot) -> None:
        slot.began = time.monotonic()
        try:
            slot.pid = os.fork() or self._work(slot.number)
        except OSError as error:  # no memory at the moment
            slot.deaths += 1
            slot.restart_at = slot.began + restart_delay(slot.deaths)
            log.error("the worker %s cannot be forked: %s", worker_name(self._gateway, slot.number), error)

    def _work(self, number: int) -> int:
        """The life of a worker; it never returns to the supervisor's code."""
        code = 1
        try:
            for each in ENDING:
                signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
            # SIGHUP waits until the worker can reload.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*ENDING, signal.SIGCHLD, RELOADED})
            os.close(self._pipe[1])
            worker = SharingWorker(
                self._gateway,
                number,
                memory=self._memory,
                sockets=self._folder,
                parent=self._pipe[0],
                supervisor=self._pid,
                reloads=self._reloads,
            )
            logs.add_fields(worker=worker.name)
            self._serve(self._settings, worker, self._sockets)
            code = 0
        except LoraLoopError as error:
            log.error("error: %s", error)
        except KeyboardInterrupt:
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            log.exception("the worker failed")
        finally:
            logging.shutdown()
            os._exit(code)
