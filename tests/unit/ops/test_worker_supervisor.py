"""Facts about the supervisor of a gateway's workers, and about reloads while a worker starts."""

import asyncio
import gc
import logging
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
import yaml
from fastapi.testclient import TestClient

from core import logs
from core.errors import SettingsError
from core.settings import build, load
from ops.apps import gateway_worker, worker_supervisor
from ops.apps.changed_settings import GATEWAY
from ops.apps.gateway import create_app
from ops.apps.gateway_worker import OnlyWorker, Own, SharingWorker
from ops.apps.reload import Reloader
from ops.apps.worker_heartbeats import SILENT_LOOKS, Heartbeats
from ops.apps.worker_supervisor import WorkerSupervisor
from serve.workers.memory import SharedMemory
from tests.support.environment import own_logging
from tests.support.gateway_workers import until


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leaves the test's own logging as it was."""
    yield from own_logging(monkeypatch)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a short name, as the paths of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="ll-") as name:
        yield Path(name)


def written(path: Path, **content: Any) -> Path:
    """A configuration in a file."""
    common = {"data": str(path.parent / "data"), "models": {"reviews": {"labels": ["a", "b"]}}}
    path.write_text(yaml.safe_dump(common | content))
    return path


def test_the_supervisor_of_workers_takes_a_new_log_for_itself_and_those_that_it_starts(tmp_path: Path) -> None:
    file = written(tmp_path / "f.yaml", gateway={"workers": 2})
    supervisor = WorkerSupervisor(load(file), file, lambda *_: None)
    logs.install(load(file).logs)
    written(file, logs={"level": "error", "format": "json"})
    supervisor.reload()
    root = logging.getLogger()
    assert root.level == logging.ERROR and isinstance(root.handlers[0].formatter, logs.JsonLines)


def test_workers_are_refused_where_the_system_cannot_supervise_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "f.yaml", gateway={"workers": 2})
    monkeypatch.delattr(signal, "sigtimedwait")
    with pytest.raises(SettingsError, match="workers is 2, and this system"):
        WorkerSupervisor(load(file), file, lambda *_: None).run()


def test_a_signal_during_the_start_of_a_gateway_is_obeyed_when_it_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path / "f.yaml", access="open")
    caplog.set_level(logging.INFO)
    app = create_app(settings=load(file), config=file)
    written(file, access="open", gateway={"max_in_flight": 3})
    app.state.reloader.on_signal()
    time.sleep(0.2)
    with TestClient(app):
        deadline = time.monotonic() + 30
        while "in effect: gateway.max_in_flight" not in caplog.text:
            assert time.monotonic() < deadline, caplog.text
            time.sleep(0.01)


def test_a_worker_whose_beats_do_not_change_hangs_unless_it_has_not_begun_or_was_paused() -> None:
    heartbeats = Heartbeats()
    looks = [heartbeats.look({0: 7, 1: n}) for n in range(1, SILENT_LOOKS + 2)]
    assert looks == [[]] * SILENT_LOOKS + [[0]]
    assert heartbeats.look({0: 1}) == []  # of another process in its place
    assert heartbeats.look({}) == heartbeats.look({0: 1}) == []


def test_a_worker_beats_as_long_as_its_event_loop_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_worker, "BEAT_SECONDS", 0.01)
    memory = SharedMemory(2)
    worker = SharingWorker("g", 1, memory=memory, sockets=folder, parent=os.pipe()[0], supervisor=0, reloads=0)

    async def run() -> None:
        await worker.open()
        async with asyncio.timeout(60):
            while memory.beats(1) < 3:
                await asyncio.sleep(0.01)
        worker.close()

    asyncio.run(run())
    assert memory.beats(0) == 0
    memory.forget(1)
    assert memory.beats(1) == 0


def test_a_worker_that_hangs_is_killed_and_replaced_and_one_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_supervisor, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(worker_supervisor, "WORKER_SECONDS", 0.2)
    gateway = {"workers": 2, "listen": "127.0.0.1:0", "drain_seconds": 0}
    file = written(tmp_path / "f.yaml", gateway=gateway)

    async def hang(worker: OnlyWorker) -> None:
        await worker.open()
        await asyncio.sleep(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (tmp_path / f"{worker.name} {os.getpid()}").touch()
        time.sleep(600)

    pid = os.fork()
    if not pid:
        gc.freeze()  # objects of other tests may have threads, which a fork does not have and cannot end
        try:
            WorkerSupervisor(load(file), file, lambda settings, worker, sockets: asyncio.run(hang(worker))).run()
        finally:
            os._exit(0)
    try:
        until(lambda: len(list(tmp_path.glob("* *"))) >= 4)
        os.kill(pid, signal.SIGTERM)
        until(lambda: not psutil.Process(pid).children())
    finally:
        for each in [*psutil.Process(pid).children(), psutil.Process(pid)]:
            each.kill()
        os.waitpid(pid, 0)


def test_a_worker_starts_although_the_file_that_others_reloaded_is_broken_now(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = SharedMemory(2)
    pipe = os.pipe()
    worker = SharingWorker("g", 0, memory=memory, sockets=folder, parent=pipe[0], supervisor=0, reloads=0)
    memory.count_reload()
    (folder / "file").write_text("[")
    reloader = Reloader(
        folder / "file", build({"models": {"reviews": {"labels": ["a", "b"]}}}), GATEWAY, lambda _: None
    )
    worker.own = cast(Own, SimpleNamespace(reload=reloader.reload))

    async def run() -> None:
        await worker.open()
        worker.close()

    asyncio.run(run())
    assert memory.beats(0) == 1 and "the configuration was not reloaded" in caplog.text
