"""Facts about the question for a key: on a real terminal, the key that is typed is never shown."""

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Header, HTTPException

from ops import contexts
from serve.engines.fake import running
from tests.support.environment import clear_settings
from tests.support.wait import wait_until

KEY = "llk_a1b2c3_secret"


class Terminal:
    """A terminal on which `loraloop login` runs, and what a person sees on it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        self.seen = bytearray()
        self.file = folder / "config" / "loraloop" / "contexts.yaml"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli.app", "login", "--url", url, "--context", "prod"],
            cwd=folder,
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            env=os.environ | {"XDG_CONFIG_HOME": str(folder / "config"), "TERM": "dumb"},
            preexec_fn=self._own,  # noqa: PLW1509  nothing else runs
        )
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    @staticmethod
    def _own() -> None:
        """The prompt opens /dev/tty, which is the terminal of the session."""
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(self.ours, 65536):
                self.seen.extend(piece)

    def answer(self, typed: bytes) -> int:
        """Wait for the question, type, and return the exit code."""
        wait_until(
            lambda: b"Key for " in self.seen and not termios.tcgetattr(self.theirs)[3] & termios.ECHO,
            60,  # a question that shows the key never comes true
            alive=lambda: self.process.poll() is None,
        )
        os.write(self.ours, typed)
        return self.process.wait(60)

    def close(self) -> None:
        """End what is left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.theirs)
        self.reader.join()
        os.close(self.ours)


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    clear_settings(monkeypatch)
    api = FastAPI()

    @api.get("/api/models")
    def models(authorization: str = Header("")) -> list[str]:
        if authorization != f"Bearer {KEY}":
            raise HTTPException(401)
        return []

    with running(api) as url:
        made = Terminal(tmp_path, url)
        yield made
        made.close()


def test_a_typed_key_is_stored_and_never_shown(terminal: Terminal) -> None:
    assert terminal.answer(f"{KEY}\n".encode()) == 0
    assert contexts.read(terminal.file).get("prod").key == KEY
    wait_until(lambda: b"Logged in to" in terminal.seen)
    assert b"secret" not in terminal.seen and b"llk_" not in terminal.seen
    assert termios.tcgetattr(terminal.theirs) == terminal.before


def test_a_wrong_key_is_refused_and_never_shown(terminal: Terminal) -> None:
    assert terminal.answer(b"llk_x_secret\n") == 4
    wait_until(lambda: b"Nothing was stored." in terminal.seen)
    assert b"secret" not in terminal.seen and not terminal.file.exists()


def test_ctrl_c_at_the_question_stores_nothing_and_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    assert terminal.answer(b"\x03") != 0
    assert not terminal.file.exists() and termios.tcgetattr(terminal.theirs) == terminal.before
    assert b"Traceback" not in terminal.seen
