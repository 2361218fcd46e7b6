"""Facts about `loraloop doctor --fix`: it repairs what can lose nothing, and examines again."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import PackageError
from core.model_folder import ModelFolder
from core.settings import cache_folder, load
from ops.local import doctor
from ops.local.finding import Finding
from tests.support.command_line import loraloop


def repaired(config: Path) -> tuple[dict[str, Finding], dict[str, str]]:
    findings, done = doctor.repair(config, lambda _: None)
    return {finding.name: finding for finding in findings}, done


def test_what_can_lose_nothing_is_repaired_and_examined_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    contexts = tmp_path / "loraloop" / "contexts.yaml"
    contexts.parent.mkdir()
    contexts.write_text("current: null\ncontexts: {}\n")
    contexts.chmod(0o640)

    def prepared(base_model: str, _: Any) -> ModelFolder:
        folder = cache_folder() / "models" / base_model
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        return ModelFolder(base_model, folder)

    monkeypatch.setattr(doctor, "prepare", prepared)
    before = {finding.name: finding.level for finding in doctor.examine(tmp_path / "loraloop.yaml")}
    assert before == {"configuration": "fix", "contexts": "fix"}
    found, done = repaired(tmp_path / "loraloop.yaml")
    assert done.keys() == {"configuration", "contexts", "base model"}
    assert all(found[name].ok for name in done)
    assert contexts.stat().st_mode & 0o777 == 0o600 and "reviews" in load(tmp_path / "loraloop.yaml").models
    assert repaired(tmp_path / "loraloop.yaml")[1] == {}


def test_a_configuration_with_a_mistake_is_not_replaced(tmp_path: Path) -> None:
    config = tmp_path / "loraloop.yaml"
    config.write_text("modles: {}\n")
    found, done = repaired(config)
    assert done == {} and not found["configuration"].ok and config.read_text() == "modles: {}\n"


def test_a_repair_that_fails_is_said_and_leaves_the_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "loraloop.yaml").write_text("models: {r: {labels: [a, b]}}\n")

    def offline(*_: Any) -> ModelFolder:
        raise PackageError("The index does not answer.")

    monkeypatch.setattr(doctor, "prepare", offline)
    found, done = repaired(tmp_path / "loraloop.yaml")
    assert done == {"base model": "Not repaired: The index does not answer."} and not found["base model"].ok


def test_the_command_says_what_it_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    contexts = tmp_path / "loraloop" / "contexts.yaml"
    contexts.parent.mkdir()
    contexts.write_text("current: null\ncontexts: {}\n")
    contexts.chmod(0o604)
    (tmp_path / "loraloop.yaml").write_text("base_model: nowhere\nmodels: {r: {labels: [a, b]}}\n")

    def row(*words: str) -> dict[str, Any]:
        done = loraloop("doctor", "--json", *words, cwd=tmp_path)
        assert done.returncode == 1  # the base model is no folder
        return next(row for row in json.loads(done.stdout) if row["check"] == "contexts")

    tried = row()
    assert (tried["level"], tried["fixable"], tried["fixed"]) == ("fix", True, None)
    fixed = row("--fix")
    assert (fixed["level"], fixed["fixable"]) == ("ok", False) and fixed["fixed"].endswith("by you alone now.")
