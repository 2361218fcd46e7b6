"""Facts about the shell's completion of names and ids, through the protocol that the shell's script speaks."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi import FastAPI, Header, HTTPException

from ops import contexts
from ops.cli import completion
from ops.cli.app import app
from ops.contexts import Context, Contexts
from serve.engines.fake import running
from tests.support.environment import clear_settings

KEY = "llk_a1b2c3_secret"
PROGRAM = "import sys; sys.argv[0] = 'loraloop'; from ops.cli.app import main; main()"
ANSWERS: dict[str, Any] = {
    "/api/models": [
        {"model": "reviews", "champion": 2, "awaiting": "dec-3"},
        {"model": "tweets", "champion": 0, "awaiting": None},
    ],
    "/api/models/reviews/versions": [{"version": n, "kind": "adapter"} for n in range(3)],
    "/api/runs": [
        {"id": "run-2", "model": "reviews", "state": "training", "finished": None, "snapshot": "ab" * 32},
        {"id": "run-1", "model": "tweets", "state": "finished", "finished": "2026", "snapshot": None},
    ],
    "/api/promotions": [{"id": "dec-3", "seq": 3, "model": "reviews", "verdict": "awaiting_approval"}],
    "/api/keys": [{"id": "k1", "name": "shop", "revoked": None}, {"id": "k2", "name": "old", "revoked": "2026"}],
    "/api/quarantine": [{"id": "q-1", "model": "reviews", "votes": 4, "state": "held"}],
    "/api/dead-letters": {"count": 1, "letters": [{"id": "gateway-1.5.0", "reason": "torn"}]},
    "/api/alarms": [{"name": "engine_down", "sentence": "It is down."}],
}


class Shell:
    """A person's shell, and a control elsewhere that accepts one key."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.env = folder, {"XDG_CONFIG_HOME": str(folder / "config")}
        clear_settings(monkeypatch)
        self.app, self.asked, self.limited = FastAPI(), list[str](), False
        for path, answer in ANSWERS.items():
            self.app.get(path)(self._route(path, answer))

    def _route(self, path: str, answer: Any) -> Any:
        def route(authorization: str = Header(""), model: str | None = None) -> Any:
            self.asked.append(path)
            if authorization != f"Bearer {KEY}":
                raise HTTPException(401)
            if not self.limited:
                return answer
            # As control answers to a key for `reviews` alone.
            if path != "/api/models" and model is None:
                raise HTTPException(403)
            return [row for row in answer if row.get("model", model) == "reviews"]

        return route

    def log_in(self, url: str, key: str = KEY) -> None:
        contexts.write(
            self.folder / "config" / "loraloop" / "contexts.yaml", Contexts({"prod": Context(url, key)}, "prod")
        )

    def completed(self, typed: str, shell: str = "bash") -> list[str]:
        """What the shell offers for a line whose last word is not finished. Nothing may be said."""
        asked = {
            "_LORALOOP_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
            "_TYPER_COMPLETE_ARGS": typed,
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | self.env | asked,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert done.stderr == "" and "secret" not in done.stdout
        return done.stdout.split() if shell == "bash" else done.stdout.splitlines()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    made = Shell(tmp_path, monkeypatch)
    with running(made.app) as url:
        made.log_in(url)
        yield made


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("loraloop models promote ", ["reviews", "tweets"]),
        ("loraloop models promote tw", ["tweets"]),
        ("loraloop models promote reviews ", ["2", "1", "0"]),
        ("loraloop models rollback reviews --to ", ["2", "1", "0"]),
        ("loraloop rollback reviews --to ", ["2", "1", "0"]),
        ("loraloop keys create shop --model ", ["reviews", "tweets"]),
        ("loraloop runs show ", ["run-2", "run-1"]),
        ("loraloop runs cancel ", ["run-2"]),
        ("loraloop promotions show ", ["dec-3"]),
        ("loraloop promotions approve ", ["dec-3"]),
        ("loraloop keys revoke ", ["k1"]),
        ("loraloop data export feedback - --key ", ["k1", "k2"]),
        ("loraloop snapshots show ", ["run-2", "ab" * 6]),
        ("loraloop quarantine release ", ["q-1"]),
        ("loraloop dead-letters show ", ["gateway-1.5.0"]),
        ("loraloop alarms silence ", ["engine_down"]),
        ("loraloop models list --context ", ["prod"]),
        ("loraloop contexts use ", ["prod"]),
        ("loraloop models list -o ", ["table", "json", "yaml"]),
    ],
)
def test_the_shell_offers_what_control_has(shell: Shell, typed: str, offered: list[str]) -> None:
    assert shell.completed(typed) == offered


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("loraloop models promote ", ["reviews"]),
        ("loraloop runs show ", ["run-2"]),
        ("loraloop promotions show ", ["dec-3"]),
        ("loraloop quarantine release ", ["q-1"]),
        ("loraloop alarms silence ", ["engine_down"]),
    ],
)
def test_a_key_limited_to_a_model_is_offered_what_is_of_this_model(
    shell: Shell, typed: str, offered: list[str]
) -> None:
    shell.limited = True
    assert shell.completed(typed) == offered


def test_shells_that_can_show_what_an_id_is(shell: Shell) -> None:
    (line, *_) = shell.completed("loraloop runs show ", "zsh")
    assert "run-2" in line and "reviews, training" in line


def test_the_control_that_is_typed_is_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (url,) = (one.url for one in contexts.read(shell.folder / "config" / "loraloop" / "contexts.yaml").by_name.values())
    shell.log_in("http://127.0.0.1:9")
    assert shell.completed("loraloop models promote ") == []
    monkeypatch.setenv("LORALOOP_KEY", KEY)
    assert shell.completed(f"loraloop models promote --url {url} ") == ["reviews", "tweets"]
    listen = url.removeprefix("http://")
    (shell.folder / "other.yaml").write_text(f"models: {{r: {{labels: [a, b]}}}}\ncontrol: {{listen: '{listen}'}}\n")
    assert shell.completed("loraloop models promote --config other.yaml ") == ["reviews", "tweets"]
    assert shell.completed("loraloop plan --config other.yaml ") == ["r"]


def test_a_refused_key_gives_nothing(shell: Shell) -> None:
    (url,) = (one.url for one in contexts.read(shell.folder / "config" / "loraloop" / "contexts.yaml").by_name.values())
    shell.log_in(url, "llk_x_secret")
    assert shell.completed("loraloop models promote ") == [] and shell.asked == ["/api/models"]


@pytest.mark.parametrize("typed", ["loraloop models promote ", "loraloop contexts use ", "loraloop plan "])
def test_a_folder_without_anything_gives_nothing(shell: Shell, typed: str) -> None:
    (shell.folder / "config" / "loraloop" / "contexts.yaml").write_text("{")
    assert shell.completed(typed) == []


def test_a_control_that_does_not_answer_delays_the_shell_by_its_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    clear_settings(monkeypatch)
    monkeypatch.setattr(completion, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        contexts.write(
            tmp_path / "loraloop" / "contexts.yaml",
            Contexts({"prod": Context(f"http://127.0.0.1:{server.getsockname()[1]}", KEY)}, "prod"),
        )
        started = time.monotonic()
        context: Any = typer.Context(typer.main.get_command(app))
        assert completion.models(context) == []
    assert 0.2 < time.monotonic() - started < 5


def named(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every parameter of every command."""
    nested = getattr(command, "commands", {})
    for word, inner in nested.items():
        yield from named(inner, (*words, word))
    if not nested:
        yield from ((" ".join((*words, one.name)), one) for one in command.params)


def test_every_name_and_id_that_control_has_is_completed() -> None:
    taken = ("model", "version", "to", "run", "identity", "key", "context")
    for words, parameter in named(typer.main.get_command(app)):
        if words.rpartition(" ")[2] in taken:
            assert parameter._custom_shell_complete is not None, words
