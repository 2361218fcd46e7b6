"""Facts about the watch of the configuration file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops.apps.config_watch import ConfigWatch
from tests.support.wait import wait_until

# Blocks the signal as a start does, and takes it as a process that can reload; or as the supervisor of workers.
PROCESS = """
import pathlib, signal, sys, threading, time
from ops.apps import config_watch
file = pathlib.Path(sys.argv[1])
config_watch.start(file, 0.05)
if sys.argv[2] == "supervisor":
    take = lambda: signal.sigtimedwait({signal.SIGHUP}, 60)
else:
    taken = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: taken.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    take = lambda: [time.sleep(0.01) for _ in iter(taken.is_set, True)]
print("ready", flush=True)
take()
print("reloaded", file.read_text(), flush=True)
"""


def test_only_another_content_is_a_change(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("a")
    watch = ConfigWatch(file)
    os.utime(file, (1, 1))
    assert not watch.has_changed()
    file.write_text("b")
    assert watch.has_changed() and not watch.has_changed()
    file.unlink()  # for a moment, while it is replaced
    assert not watch.has_changed()
    file.write_text("b")
    assert not watch.has_changed()


def test_a_link_to_another_folder_is_a_change(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f.yaml").write_text(name)
    data = tmp_path / "data"
    data.symlink_to("one")
    watch = ConfigWatch(data / "f.yaml")
    part = tmp_path / "part"
    part.symlink_to("two")
    part.replace(data)  # as the kubelet does it
    assert watch.has_changed()


@pytest.mark.parametrize("kind", ["process", "supervisor"])
def test_a_change_reaches_what_waits_for_the_signal(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("old")
    command = [sys.executable, "-c", PROCESS, str(file), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        file.with_suffix(".part").write_text("new")
        file.with_suffix(".part").replace(file)
        assert process.stdout.readline() == "reloaded new\n"
    assert process.returncode == 0


def test_a_change_before_the_process_can_reload_waits_for_it(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("old")
    late = PROCESS.replace('print("ready", flush=True)', "").replace(
        'if sys.argv[2] == "supervisor"', 'print("started", flush=True); input()\nif sys.argv[2] == "supervisor"'
    )
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", late, str(file), "supervisor"], text=True, **how) as process:
        assert process.stdin and process.stdout and process.stdout.readline() == "started\n"
        file.write_text("new")
        pending = Path(f"/proc/{process.pid}/status")
        bit = 1 << (signal.SIGHUP - 1)
        wait_until(lambda: int(pending.read_text().partition("ShdPnd:\t")[2].split()[0], 16) & bit)
        assert process.poll() is None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "reloaded new\n"
