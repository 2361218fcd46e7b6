"""Facts about keys of the real `loraloop up`: the first key is printed once, stored nowhere, and works."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from core.api_keys import read_key
from serve.engines.fake import FakeEngine, running
from tests.support.command_line import Ended, loraloop
from tests.support.wait import wait_until
from tools.live_stack import free_ports

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("LORALOOP_")}
EXPORT = "export LORALOOP_KEY="


class Machine:
    """`loraloop up` in a folder, as a person at a terminal runs it, and commands in a second terminal."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder = folder
        self.gateway, control = (f"127.0.0.1:{port}" for port in free_ports(2))
        (folder / "base").mkdir()
        (folder / "base" / "config.json").write_text("{}")
        content = {
            "base_model": "base",
            "engine": {"urls": [engine]},
            "gateway": {"listen": self.gateway},
            "control": {"listen": control},
            "models": {"reviews": {"labels": ["a", "b"]}},
        }
        (folder / "loraloop.yaml").write_text(yaml.safe_dump(content))

    def up(self) -> str:
        """What a start says; the start is ended again after what `self.meanwhile` does."""
        log = self.folder.parent / "terminal"
        with log.open("wb") as terminal:
            process = subprocess.Popen(
                [sys.executable, "-m", "ops.cli.app", "up"],
                cwd=self.folder,
                env=CLEAN | {"PYTHONPATH": str(Path.cwd())},
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=terminal,
            )
            try:
                deadline = time.monotonic() + 90
                while b"Ready." not in log.read_bytes():
                    assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                    time.sleep(0.1)
                self.meanwhile(log.read_text())
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(60)
        return log.read_text()

    def meanwhile(self, said: str) -> None:
        """Replaced by what a test does while it runs."""

    def run(self, *words: str, key: str = "") -> Ended:
        """A command with this key in its environment, and no other one."""
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ.keys() - CLEAN.keys():
                patch.delenv(name)
            if key:
                patch.setenv("LORALOOP_KEY", key)
            return loraloop(*words, cwd=self.folder)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    engine = FakeEngine()
    engine.base_name = "base"
    (tmp_path / "here").mkdir()
    with running(engine.app()) as url:
        yield Machine(tmp_path / "here", url)


def key_in(text: str) -> str:
    return text.partition(EXPORT)[2].split()[0]


def ask(machine: Machine, key: str, model: str = "reviews") -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "so good"}]}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"http://{machine.gateway}/v1/chat/completions"
    return httpx.post(url, json=body, headers=headers, timeout=10, trust_env=False).status_code


@pytest.mark.integration
def test_the_first_start_says_a_key_once_keeps_it_nowhere_and_it_makes_others(machine: Machine) -> None:
    seen: dict[str, Any] = {}

    def work(said: str) -> None:
        admin = key_in(said)
        assert ask(machine, "") == 401 and ask(machine, admin) == 200
        made = machine.run("keys", "create", "shop", "--scope", "infer", "--expires", "1d", key=admin)
        shop = made.stdout.strip()
        assert read_key(shop) and made.stdout.count("\n") == 1 and shop not in made.stderr
        wait_until(lambda: ask(machine, shop) == 200)
        refused = machine.run("keys", "list", key=shop)
        assert refused.returncode == 4 and "lacks the scope admin" in refused.stderr and refused.stdout == ""
        assert "export LORALOOP_KEY" in machine.run("keys", "list").stderr
        rows = json.loads(machine.run("keys", "list", "--json", key=admin).stdout)
        assert [row["name"] for row in rows] == ["shop", "first"]
        seen.update(admin=admin, shop=shop, id=rows[0]["id"])

    machine.meanwhile = work
    assert machine.up().count(EXPORT) == 1
    for file in machine.folder.rglob("*"):
        for key in (seen["admin"], seen["shop"]):
            parts = read_key(key)
            assert parts and not (file.is_file() and parts[1].encode() in file.read_bytes()), file

    def again(_: str) -> None:
        old, identity, admin = seen["shop"], seen["id"], seen["admin"]
        new = machine.run("keys", "rotate", identity, "--grace", "1h", "--yes", key=admin).stdout.strip()
        wait_until(lambda: ask(machine, new) == ask(machine, old) == 200)
        for words, code in ((["--dry-run"], 0), ([], 2)):
            assert machine.run("keys", "revoke", identity, *words, key=admin).returncode == code
            assert ask(machine, new) == 200
        assert machine.run("keys", "revoke", identity, "--yes", key=admin).returncode == 0
        wait_until(lambda: ask(machine, new) == ask(machine, old) == 401)

    machine.meanwhile = again
    assert EXPORT not in machine.up()
