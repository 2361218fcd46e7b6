"""Facts about the first key and what our processes are given; `tests/integration/test_keys.py` has the whole story."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.db import api_keys
from core.db.store import Store
from core.errors import InputError
from core.settings import SECRET_VARIABLES, Settings, build
from ops.cli.app import app
from ops.local import preparation, up
from serve.engines.process import environment
from tests.support.environment import clear_settings

EXPORT = "export LORALOOP_KEY="


def settings(folder: Path, **changes: Any) -> Settings:
    return build({"data": str(folder), "models": {"reviews": {"labels": ["a", "b"]}}} | changes)


@pytest.mark.parametrize("way", ["ops key", "open", "neither"])
def test_a_first_key_is_made_only_where_nobody_could_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    clear_settings(monkeypatch)
    if way == "ops key":
        monkeypatch.setenv("LORALOOP_OPS_KEY", "mine")
    made = settings(tmp_path, access="open" if way == "open" else "keys")
    said: list[str] = []
    for _ in range(2):
        preparation.tell_first_key(made, said.append)
    assert "\n".join(said).count(EXPORT) == (1 if way == "neither" else 0)
    store = Store(made.store_path)
    assert len(api_keys.all_keys(store)) == (1 if way == "neither" else 0)
    store.close()


def test_our_processes_are_given_every_key_but_the_persons_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_APP_KEY", "app")
    monkeypatch.setenv("LORALOOP_KEY", "mine")
    monkeypatch.delenv("LORALOOP_INTERNAL_KEY", raising=False)
    made = settings(tmp_path)
    first, second = up._environment(made), up._environment(made)
    assert first["LORALOOP_APP_KEY"] == "app" and "LORALOOP_KEY" not in first
    assert (
        len(first["LORALOOP_INTERNAL_KEY"]) > 40 and first["LORALOOP_INTERNAL_KEY"] != second["LORALOOP_INTERNAL_KEY"]
    )


@pytest.mark.parametrize(
    "words", [["create", "x", "--scope", "infer", "--expires", "soon"], ["rotate", "a", "--grace", "1 hour"]]
)
def test_a_length_of_time_that_is_none_is_refused_before_the_first_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loraloop.yaml").write_text("models: {reviews: {labels: [a, b]}}\ncontrol: {listen: 127.0.0.1:9}\n")
    done = CliRunner().invoke(app, ["keys", *words])
    assert isinstance(done.exception, InputError) and "90d" in str(done.exception) and done.stdout == ""


def test_only_control_is_given_where_notifications_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_NOTIFY_URLS", "slack://t0ken")
    made = settings(tmp_path)
    everything = up._environment(made)
    assert "LORALOOP_NOTIFY_URLS" in up._for("control", everything)
    assert "LORALOOP_NOTIFY_URLS" not in up._for("gateway", everything)
    monkeypatch.setenv("LORALOOP_OPS_KEY_FILE", str(tmp_path / "ops"))
    (tmp_path / "ops").write_text("ops")
    assert not SECRET_VARIABLES & set(environment(made.engine))
    given = up._environment(settings(tmp_path))
    assert given["LORALOOP_OPS_KEY"] == "ops" and "LORALOOP_OPS_KEY_FILE" not in given


# IMPORT
