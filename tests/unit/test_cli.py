"""Facts about the command line that need no running control."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import load
from ops import reference
from ops.starter import STARTER


def loraloop(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli.app", *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )


def test_init_writes_a_configuration_that_loads(tmp_path: Path):
    done = loraloop("init", cwd=tmp_path)
    assert done.returncode == 0
    assert "reviews" in load(tmp_path / "loraloop.yaml").models


def test_init_replaces_nothing_by_itself(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text("mine: true\n")
    done = loraloop("init", cwd=tmp_path)
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert (tmp_path / "loraloop.yaml").read_text() == "mine: true\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("models: [", "is not YAML"),
        ("modles: {}\nmodels: {r: {labels: [a, b]}}", "modles is not a setting. Did you mean models?"),
        ("models: {r: {labels: [a]}}", "models.r.labels"),
        ("base_model: nowhere\nmodels: {r: {labels: [a, b]}}", "no folder with a config.json"),
    ],
)
def test_a_wrong_configuration_is_one_sentence_and_leaves_nothing(tmp_path: Path, content: str, sentence: str):
    (tmp_path / "loraloop.yaml").write_text(content)
    done = loraloop("up", cwd=tmp_path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.rglob("*")} <= {"loraloop.yaml", "data", "up.lock"}


def test_no_configuration_says_how_to_make_one(tmp_path: Path):
    done = loraloop("models", cwd=tmp_path)
    assert done.returncode == 1
    assert "loraloop init" in done.stderr


def test_without_control_a_reading_command_says_how_to_start_it(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text(STARTER.replace("8081", "18999"))
    done = loraloop("promotions", cwd=tmp_path)
    assert done.returncode == 1
    assert "does not answer. Start it with: loraloop up" in done.stderr
    assert done.stdout == ""


def test_off_a_terminal_a_change_wants_a_yes(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text(STARTER)
    done = loraloop("promote", "reviews", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert "--yes" in done.stderr


def test_a_dry_run_does_nothing(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text(STARTER)
    done = loraloop("promote", "reviews", "3", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert "Nothing was done" in done.stderr


def test_doctor_names_a_fix_for_whatever_is_wrong(tmp_path: Path):
    ports = "gateway: {listen: 127.0.0.1:18997}\ncontrol: {listen: 127.0.0.1:18998}\nengine: {listen: 127.0.0.1:18999}"
    (tmp_path / "loraloop.yaml").write_text(f"base_model: nowhere\nmodels: {{r: {{labels: [a, b]}}}}\n{ports}")
    done = loraloop("doctor", "--json", cwd=tmp_path)
    findings = json.loads(done.stdout)
    assert done.returncode == 1
    assert all(finding["fix"] for finding in findings if not finding["ok"])
    assert "base model" in {finding["check"] for finding in findings if not finding["ok"]}


def test_the_demo_refuses_a_model_without_data(tmp_path: Path):
    done = loraloop("demo", "--models", "poems", cwd=tmp_path)
    assert done.returncode == 1
    assert "reviews, movies, tweets, editorials" in done.stderr


def test_control_alone_wants_the_key_that_gateways_show(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text(STARTER)
    done = loraloop("control", cwd=tmp_path)
    assert done.returncode == 1
    assert "LORALOOP_INTERNAL_KEY" in done.stderr


def test_every_setting_has_a_sentence():
    assert "|  |" not in reference.configuration()
