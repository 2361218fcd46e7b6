"""Facts about what a killed `loraloop up` leaves behind, and about how soon what dies is started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.local import orphan_processes
from ops.local.orphan_processes import Mark
from ops.local.process_identity import born
from ops.local.restart_delay import LONGEST_BACKOFF, STEADY_SECONDS, restart_delay
from ops.local.up import Child

STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True); time.sleep(60)"
)
PLAIN = "import time; print(flush=True); time.sleep(60)"
Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def started() -> Iterator[Started]:
    made: list[subprocess.Popen[str]] = []

    def start(code: str = PLAIN, session: bool = True) -> "subprocess.Popen[str]":
        made.append(
            subprocess.Popen([sys.executable, "-c", code], start_new_session=session, stdout=subprocess.PIPE, text=True)
        )
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.communicate()


def test_what_was_noted_is_ended_with_all_that_it_started(
    tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphan_processes, "GRACE_SECONDS", 0.3)
    stubborn, plain = started(STUBBORN), started()
    assert stubborn.stdout and plain.stdout
    worker = int(stubborn.stdout.readline())
    plain.stdout.readline()
    orphan_processes.note(tmp_path, [("engine", stubborn.pid), ("gateway", plain.pid)])
    assert [mark.name for mark in orphan_processes.end(tmp_path)] == ["engine", "gateway"]
    assert (plain.wait(5), stubborn.wait(5)) == (-signal.SIGTERM, -signal.SIGKILL)
    deadline = time.monotonic() + 5
    while not (fate := stat(worker)) or fate not in "ZX":
        assert time.monotonic() < deadline, "the worker outlived its leader"
        time.sleep(0.01)
    assert orphan_processes.end(tmp_path) == []


def stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def test_a_process_of_another_program_is_left_alone(tmp_path: Path, started: Started) -> None:
    other_process, member = started(), started(session=False)
    start = born(other_process.pid)
    assert start and born(member.pid, leader=True) is None  # it leads no session, so it is none of ours
    boot, ticks = start.split()
    for other in (f"{boot} {int(ticks) - 1}", f"another-boot {ticks}"):  # its id was one of ours once
        (tmp_path / orphan_processes.NOTE).write_text(
            f'[{{"name": "gateway", "pid": {other_process.pid}, "born": "{other}"}}]'
        )
        assert orphan_processes.end(tmp_path) == []
    assert other_process.poll() is None and member.poll() is None


def test_what_has_ended_needs_no_end(tmp_path: Path, started: Started) -> None:
    process = started()
    orphan_processes.note(tmp_path, [("control", process.pid)])
    os.kill(process.pid, signal.SIGKILL)
    while born(process.pid):  # not waited for: a zombie counts as ended
        time.sleep(0.005)
    assert orphan_processes.end(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"pid": 1}]'])
def test_a_note_that_cannot_be_read_ends_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / orphan_processes.NOTE).write_text(text)
    assert orphan_processes.end(tmp_path) == []


def test_a_disk_that_takes_no_note_costs_only_the_note(tmp_path: Path) -> None:
    orphan_processes.note(tmp_path / "none", [("gateway", os.getpid())])
    assert not (tmp_path / "none").exists()


def test_a_note_holds_who_leads_a_session(tmp_path: Path, started: Started) -> None:
    process = started()
    orphan_processes.note(tmp_path, [("gateway", process.pid), ("control", 2**22 + 1)])
    assert orphan_processes._noted(tmp_path / orphan_processes.NOTE) == [
        Mark("gateway", process.pid, str(born(process.pid)))
    ]
    orphan_processes.forget(tmp_path)
    assert list(tmp_path.iterdir()) == []


def child() -> Child:
    def never() -> "subprocess.Popen[bytes]":
        raise AssertionError

    return Child("gateway", "http://127.0.0.1:9", never, None)  # type: ignore[arg-type]


def test_what_dies_at_its_start_is_started_ever_later() -> None:
    made = child()
    assert [made.died(100.0) for _ in range(8)] == [0, 1, 3, 7, 15, LONGEST_BACKOFF, LONGEST_BACKOFF, LONGEST_BACKOFF]
    assert made.restart_at == 100.0 + LONGEST_BACKOFF
    assert restart_delay(100_000) == LONGEST_BACKOFF


def test_what_answered_for_a_while_is_started_again_at_once() -> None:
    made = child()
    made.deaths, made.answered = 6, 100.0
    assert made.died(100.0 + STEADY_SECONDS + 0.1) == 0
    made.answered = 200.0
    assert made.died(200.0 + STEADY_SECONDS - 0.1) == 1
