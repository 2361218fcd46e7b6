"""Facts about a killed `loraloop up`: its processes keep serving, and the next `up` takes over."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from serve.engines.fake import FakeEngine, running
from tests.support.wait import PATIENCE_SECONDS, wait_until
from tools.live_stack import free_ports


class Up:
    """`loraloop up` before a fake engine, as a process."""

    def __init__(self, folder: Path, base: Path, engine: str) -> None:
        gateway, control = (f"127.0.0.1:{port}" for port in free_ports(2))
        self.gateway, self.folder = f"http://{gateway}", folder
        self.config = folder / "loraloop.yaml"
        self.config.write_text(
            yaml.safe_dump(
                {
                    "base_model": str(base),
                    "access": "open",
                    "data": str(folder / "data"),
                    "models": {"notes": {"labels": ["a", "b"]}},
                    "gateway": {"listen": gateway},
                    "control": {"listen": control, "check_seconds": 0.3},
                    "engine": {"urls": [engine]},
                }
            )
        )
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        command = [sys.executable, "-m", "ops.cli.app", "up", "--config", str(self.config)]
        with (self.folder / "up.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.wait(lambda: "Ready." in self.said())

    def said(self) -> str:
        return (self.folder / "up.log").read_text()

    def wait(self, condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        wait_until(condition, seconds, alive=lambda: self.process.poll() is None, log=self.said)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def ours(self) -> list[psutil.Process]:
        return [
            p
            for p in psutil.process_iter(["cmdline"])
            if str(self.config) in (p.info["cmdline"] or ()) and p.status() != psutil.STATUS_ZOMBIE
        ]


@pytest.fixture
def up(tmp_path: Path, tiny_base: Path) -> Iterator[Up]:
    engine = FakeEngine(base_name=tiny_base.name)
    with running(engine.app()) as url:
        made = Up(tmp_path, tiny_base, url)
        yield made
        for process in made.ours():
            os.kill(process.pid, signal.SIGKILL)
        made.process.wait(10)


def test_what_a_killed_up_left_serves_on_and_the_next_up_takes_over(up: Up) -> None:
    up.start()
    left = {process.pid for process in up.children()}
    up.process.kill()
    up.process.wait()
    vote = {"interaction_id": "i", "type": "thumbs", "value": True}
    assert httpx.post(f"{up.gateway}/v1/feedback", json=vote).status_code == 202
    up.start()
    assert up.said().count("a LoraLoop that was killed had left it") == 2
    assert {process.pid for process in up.children()}.isdisjoint(left)
    assert {process.pid for process in up.ours()} == {p.pid for p in up.children()} | {up.process.pid}
    up.process.terminate()
    up.process.wait(30)
    assert up.ours() == [] and not (up.folder / "data" / "up.children.json").exists()


def test_what_served_for_a_while_is_back_at_once_and_what_keeps_dying_is_not(
    up: Up,
) -> None:
    up.start()
    time.sleep(6)
    for wait in ("0 s", "1 s"):
        before = up.said().count("restarting")
        next(p for p in up.children() if "gateway" in p.cmdline()).kill()
        up.wait(lambda before=before: up.said().count("restarting") > before)
        assert up.said().rstrip().endswith(f"gateway ended with code -9; restarting in {wait}")
        up.wait(lambda: any("gateway" in p.cmdline() for p in up.children() if p.status() != psutil.STATUS_ZOMBIE))
