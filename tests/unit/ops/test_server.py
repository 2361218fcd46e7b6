"""Facts about LoraLoop as processes of this machine: start without a terminal, status, end. The engine is a fake."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from ops.local import orphan_processes, server_record
from ops.local.detached import message_of
from ops.local.process_identity import RunningProcess, born, started_at
from ops.local.server_record import ServerRecord
from serve.engines.fake import FakeEngine, running
from tests.support.command_line import Ended, loraloop
from tests.support.environment import clear_settings
from tests.support.wait import wait_until
from tools.live_stack import free_ports


class Machine:
    """A folder with a configuration, and commands in it."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder, self.data = folder, folder / "data"
        gateway, control = (f"127.0.0.1:{port}" for port in free_ports(2))
        (folder / "base").mkdir()
        (folder / "base" / "config.json").write_text("{}")
        self.content = {
            "base_model": "base",
            "engine": {"urls": [engine]},
            "gateway": {"listen": gateway},
            "control": {"listen": control, "check_seconds": 0.5},
            "models": {"reviews": {"labels": ["a", "b"]}},
        }
        self.write()

    def write(self, **changes: object) -> None:
        (self.folder / "loraloop.yaml").write_text(yaml.safe_dump(self.content | changes))

    def run(self, *words: str) -> Ended:
        return loraloop("server", *words, cwd=self.folder)

    def status(self) -> tuple[int, dict[str, object]]:
        done = self.run("status", "--json")
        return done.returncode, json.loads(done.stdout)

    def processes(self) -> list[psutil.Process]:
        config = str(self.folder / "loraloop.yaml")
        return [one for one in psutil.process_iter(["cmdline"]) if config in (one.info["cmdline"] or ())]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    clear_settings(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    engine = FakeEngine()
    engine.base_name = "base"
    with running(engine.app()) as url:
        made = Machine(tmp_path, url)
        yield made
        for left in made.processes():
            left.kill()


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_it_starts_without_a_terminal_says_its_state_and_ends(machine: Machine) -> None:
    assert machine.status() == (5, {"state": "stopped", "pid": None, "since": None, "config": None, "parts": []})
    started = machine.run("up", "-d")
    assert started.returncode == 0 and "Ready. Apps: http://127.0.0.1:" in started.stderr, started.stderr
    assert started.stderr.count("export LORALOOP_KEY=llk_") == 1
    key = started.stderr.partition("export LORALOOP_KEY=")[2].split()[0]
    files = [file for file in machine.data.rglob("*") if file.is_file()]
    assert "up.log" in {file.name for file in files}
    assert not any(key.encode() in file.read_bytes() for file in files), "the key is in a file"

    code, found = machine.status()
    assert (code, found["state"], found["config"]) == (0, "ready", str(machine.folder / "loraloop.yaml"))
    assert {part["part"]: part["state"] for part in found["parts"]} == {"control": "ready", "gateway": "ready"}
    table = machine.run("status").stdout
    assert "LoraLoop is ready." in table and f"process {found['pid']}" in table

    again = machine.run("up", "-d")
    assert again.returncode != 0 and "Another LoraLoop runs" in again.stderr
    assert len(machine.processes()) == 3

    ended = machine.run("down")
    assert ended.returncode == 0 and f"process {found['pid']}" in ended.stderr
    wait_until(lambda: not machine.processes())
    assert machine.status()[0] == 5 and machine.run("down").stderr == "Nothing runs.\n"


def test_a_start_that_fails_says_why_with_the_end_of_the_right_log(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = machine.folder / "fake" / "vllm" / "entrypoints" / "openai"
    fake.mkdir(parents=True)
    for package in (fake, *fake.parents[:2]):
        (package / "__init__.py").touch()
    (fake / "api_server.py").write_text("print('the GPU is busy\\nValueError: no memory'); raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", f"{machine.folder / 'fake'}:{Path.cwd()}")
    machine.write(engine={"listen": f"127.0.0.1:{free_ports(1)[0]}"})
    done = machine.run("up", "-d")
    assert done.returncode == 1
    assert "error: The engine ended at its start with code 3: ValueError: no memory" in done.stderr
    assert f"The last lines of {Path('data') / 'logs' / 'engine.log'}:\nthe GPU is busy\n" in done.stderr
    assert not machine.processes() and machine.status()[0] == 5


def test_what_a_killed_up_left_is_named_and_ended(machine: Machine, sleeper: "subprocess.Popen[bytes]") -> None:
    machine.data.mkdir()
    orphan_processes.note(machine.data, [("gateway", sleeper.pid)])
    code, left = machine.status()
    assert (code, left["state"]) == (7, "orphaned")
    assert [(part["part"], part["state"]) for part in left["parts"]] == [("control", "ended"), ("gateway", "not ready")]
    ended = machine.run("down")
    assert ended.returncode == 0 and f"Ended gateway, process {sleeper.pid}" in ended.stderr
    assert sleeper.wait() == -signal.SIGTERM


def test_a_process_that_is_not_ready_says_why(machine: Machine) -> None:
    machine.data.mkdir()
    server_record.write(machine.data, server_record.of_this_process(Path("x")))
    code, found = machine.status()
    assert (code, found["state"]) == (7, "starting")
    assert [part["why"] for part in found["parts"]] == ["it wrote nothing", "it wrote nothing"]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 1}'])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / server_record.NAME).write_text(text)
    assert server_record.read(tmp_path) is None


def test_down_leaves_a_process_that_has_the_id_of_one_that_ended(
    machine: Machine, sleeper: "subprocess.Popen[bytes]"
) -> None:
    start = born(sleeper.pid)
    assert start
    boot, ticks = start.split()
    machine.data.mkdir()
    earlier = f"{boot} {int(ticks) - 1}"
    server_record.write(machine.data, ServerRecord(sleeper.pid, earlier, "x", True))
    note = [{"name": "gateway", "pid": sleeper.pid, "born": earlier}]
    (machine.data / orphan_processes.NOTE).write_text(json.dumps(note))
    assert machine.run("down").stderr == "Nothing runs.\n"
    assert sleeper.poll() is None
    with pytest.raises(ProcessLookupError):
        RunningProcess(sleeper.pid, earlier)


def test_down_kills_what_does_not_end_in_time(machine: Machine) -> None:
    code = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    start = born(process.pid)
    assert start
    machine.data.mkdir()
    server_record.write(machine.data, ServerRecord(process.pid, start, "x", True))
    done = machine.run("down", "--timeout", "0.2")
    assert done.returncode == 0 and "is killed" in done.stderr
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def test_the_start_of_a_process_is_known(sleeper: "subprocess.Popen[bytes]") -> None:
    start = born(sleeper.pid)
    assert start
    assert abs(started_at(start).timestamp() - psutil.Process(sleeper.pid).create_time()) < 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2026-03-01T10:00:00.000Z INFO loraloop.up Ready. Apps: x", "Ready. Apps: x"),
        ('{"time":"t","message":"Ready."}', "Ready."),
        ("    a traceback", "    a traceback"),
        ("{broken", "{broken"),
    ],
)
def test_progress_is_shown_without_the_head_of_its_line(line: str, message: str) -> None:
    assert message_of(line) == message
