"""`loraloop up`: engine, control and gateway on one machine, each a process, restarted when it dies.

It owns their order and their end; it must not know what they do.
"""

import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from core.errors import LoraLoopError
from core.folder_lock import FolderLock
from core.model_folder import ModelFolder
from core.settings import KEY_VARIABLES, SECRET_VARIABLES, Settings
from ops.local import orphan_processes, server_record
from ops.local.log_rotation import rotate_full
from ops.local.preparation import Tell, lock_data, prepare
from ops.local.restart_delay import STEADY_SECONDS, restart_delay
from ops.local.shutdown import gateway_seconds
from serve.engines.process import STOP_SECONDS, EngineProcess, last_error, stop_group

log = logging.getLogger(__name__)

TICK_SECONDS = 0.3
READY_SECONDS = 60
ROTATION_SECONDS = 5.0


@dataclass(slots=True)
class Child:
    """A process of ours: how to start it, where it answers since when, and how often it died at its start.

    It has `grace_s` seconds to end after SIGTERM.
    """

    name: str
    url: str
    start: Callable[[], "subprocess.Popen[bytes]"]
    process: "subprocess.Popen[bytes]"
    answered: float | None = None
    deaths: int = 0
    restart_at: float | None = None
    grace_s: float = STOP_SECONDS

    def died(self, now: float) -> float:
        """Takes down a death and returns after how many seconds to start again."""
        served = self.answered is not None and now - self.answered > STEADY_SECONDS
        self.deaths = 1 if served else self.deaths + 1
        wait = restart_delay(self.deaths)
        self.answered, self.restart_at = None, now + wait
        return wait


def _environment(settings: Settings) -> dict[str, str]:
    """What our processes are given: every key of the settings, and one between them, new at each start.

    They do not need the person's own key.
    """
    held = {name: key.get_secret_value() for name in KEY_VARIABLES if (key := getattr(settings.keys, name))}
    held = {"internal": secrets.token_urlsafe(32)} | held
    others = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    return others | {KEY_VARIABLES[name]: value for name, value in held.items() if name != "own"}


def _for(name: str, environment: dict[str, str]) -> dict[str, str]:
    """A process' own share: only control tells people, and the gateway, which apps reach, holds no such token."""
    of_control = (KEY_VARIABLES["notify"], KEY_VARIABLES["webhook"])
    return {key: value for key, value in environment.items() if name == "control" or key not in of_control}


class Stack:
    """All processes of one machine."""

    def __init__(self, settings: Settings, config: Path, tell: Tell) -> None:
        self.settings = settings
        self.config = config.resolve()
        self.tell = tell
        self._children: list[Child] = []
        self._lock: FolderLock | None = None
        self._ending = threading.Event()
        self._hung_up = threading.Event()
        self._terminal = _has_terminal()
        self._environment = _environment(settings)
        self._record = server_record.of_this_process(self.config)
        self._awaited: str | None = None

    def start(self) -> None:
        """Starts everything and returns when requests are answered. Raises LoraLoopError; nothing is left then."""
        self._lock = lock_data(self.settings.data)
        try:
            server_record.write(self.settings.data, self._record)
            base = prepare(self.settings, self.tell)
            engine = None if self.settings.engine.urls else self._start_engine(base)
            self._add("control", self.settings.control.listen)
            self._add("gateway", self.settings.gateway.listen, gateway_seconds(self.settings))
            if engine:
                self._awaited = "engine"
                self.tell("Starting the engine (vLLM); this takes up to a minute or so")
                seconds = engine.wait_ready()
                self.tell(f"Engine ready after {seconds:.0f} s; control checks that it keeps adapters apart")
            self._await(f"{self.settings.control_url}/ready", "control")
            self._await(f"http://{self.settings.gateway.listen}/ready", "gateway")
        except BaseException:
            self.stop()
            raise

    def watch(self) -> None:
        """Restarts what dies and rotates logs, until `stop` is called or a signal ends the process."""
        rotate_at = 0.0
        while not self._ending.wait(TICK_SECONDS):
            if time.monotonic() >= rotate_at:
                rotate_at = time.monotonic() + ROTATION_SECONDS
                self._rotate_logs()
            if self._hung_up.is_set():
                self._hung_up.clear()
                self._pass_on()
            for child in self._children:
                self._look(child)

    def hang_up(self, *_: object) -> None:
        """Takes a SIGHUP, which `watch` acts upon."""
        self._hung_up.set()

    def note_ready(self) -> None:
        """Let commands in other terminals see that the start is over."""
        server_record.write(self.settings.data, replace(self._record, ready=True))

    def last_lines(self, count: int) -> list[str]:
        """The end of the log of the process whose start was awaited last, if there is one."""
        if self._awaited is None:
            return []
        log_file = self._log(self._awaited)
        with log_file.open(encoding="utf-8", errors="replace") as lines:
            found = [line.rstrip("\n") for line in deque(lines, count)]
        return [f"The last lines of {log_file}:", *found] if found else []

    def raise_if_dead(self) -> None:
        """Raises LoraLoopError if a process ended, with what its log says last."""
        for child in self._children:
            if child.process.poll() is not None:
                raise LoraLoopError(
                    f"{child.name} ended with code {child.process.returncode}: {last_error(self._log(child.name))}"
                )

    def stop(self, *_: object) -> None:
        """Ends every process, gateway first so that no request meets a dead engine."""
        self._ending.set()
        for child in reversed(self._children):
            stop_group(child.process, child.grace_s)
        self._children.clear()
        if self._lock:
            server_record.forget(self.settings.data)
            orphan_processes.forget(self.settings.data)
            self._lock.release()
            self._lock = None

    def _rotate_logs(self) -> None:
        logs = self.settings.logs
        rotate_full(self.settings.data / "logs", most_bytes=int(logs.max_file_mb * 1e6), keep=logs.keep_files)

    def _pass_on(self) -> None:
        """Has control and the gateway reload; one that is just starting reads the file anyway."""
        if self._terminal and not _has_terminal():
            raise KeyboardInterrupt  # the signal says that the window was closed
        self.tell("Reloading; what took effect is in the logs of control and gateway")
        for child in self._children:
            if child.name != "engine" and child.answered is not None and child.process.poll() is None:
                child.process.send_signal(signal.SIGHUP)

    def _start_engine(self, base: ModelFolder) -> EngineProcess:
        def start() -> EngineProcess:
            return EngineProcess(self.settings.engine, base.path, base.name, self.settings.data / "logs" / "engine.log")

        engine = start()
        self._keep(Child("engine", f"{engine.url}/health", lambda: start().process, engine.process))
        return engine

    def _keep(self, child: Child) -> None:
        self._children.append(child)
        self._note()

    def _note(self) -> None:
        orphan_processes.note(self.settings.data, [(child.name, child.process.pid) for child in self._children])

    def _add(self, name: str, listen: str, grace_s: float = STOP_SECONDS) -> None:
        def start() -> "subprocess.Popen[bytes]":
            with self._log(name).open("ab") as output:
                return subprocess.Popen(
                    [sys.executable, "-m", "ops.cli.app", name, "--config", str(self.config)],
                    env=_for(name, self._environment),
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )

        self._log(name).parent.mkdir(parents=True, exist_ok=True)
        self._keep(Child(name, f"http://{listen}/health", start, start(), grace_s=grace_s))

    def _log(self, name: str) -> Path:
        return self.settings.data / "logs" / f"{name}.log"

    def _await(self, url: str, name: str) -> None:
        self._awaited = name
        child = next(c for c in self._children if c.name == name)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if child.process.poll() is not None:
                raise LoraLoopError(
                    f"{name} ended at its start: {last_error(self._log(name))}",
                    hint=f"Its whole log is {self._log(name)}.",
                )
            if _answers(url):
                return
            time.sleep(TICK_SECONDS)
        why = " ".join(["", *_engine_errors(url, self._environment[KEY_VARIABLES["internal"]])])
        raise LoraLoopError(f"{name} was not ready after {READY_SECONDS} s.{why}", hint=f"See {self._log(name)}.")

    def _look(self, child: Child) -> None:
        now = time.monotonic()
        if child.restart_at is not None:
            if now >= child.restart_at:
                self._restart(child)
        elif child.process.poll() is not None:
            stop_group(child.process)  # its workers, if it left any
            wait = child.died(now)
            self.tell(f"{child.name} ended with code {child.process.returncode}; restarting in {wait:.0f} s")
        elif child.answered is None and _answers(child.url):
            child.answered = time.monotonic()

    def _restart(self, child: Child) -> None:
        try:
            child.process, child.restart_at = child.start(), None
        except OSError as error:  # no memory or no disk at this moment, which must not take the others down
            wait = child.died(time.monotonic())
            self.tell(f"{child.name} cannot be started: {error}; trying again in {wait:.0f} s")
        self._note()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _engine_errors(url: str, key: str) -> list[str]:
    """What control's /ready says is wrong with engines."""
    try:
        body = httpx.get(url, timeout=5, trust_env=False, headers={"Authorization": f"Bearer {key}"}).json()
    except (httpx.HTTPError, ValueError):
        return []
    return [engine["error"] for engine in body.get("engines", ()) if engine["error"]]


def run(settings: Settings, config: Path, tell: Tell, *, tail: int = 0) -> None:
    """Starts the stack and watches over it until Ctrl-C or SIGTERM.

    If it cannot start, it says the last `tail` lines of the log of the process that failed. Raises LoraLoopError.
    """
    stack = Stack(settings, config, tell)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, stack.hang_up)
    try:
        stack.start()
    except LoraLoopError:
        for line in stack.last_lines(tail) if tail else ():
            tell(line)
        raise
    tell(f"Ready. Apps: http://{settings.gateway.listen}/v1   Ops: {settings.control_url}/promotions")
    stack.note_ready()
    try:
        stack.watch()
    except KeyboardInterrupt:
        pass
    finally:
        tell("Stopping")
        stack.stop()


def _interrupt(*_: object) -> None:
    """Makes SIGTERM end us the way Ctrl-C does, at start-up too."""
    raise KeyboardInterrupt
