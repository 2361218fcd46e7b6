"""Facts about the command line that need no running control."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi import FastAPI
from rich.console import Console
from typer.testing import CliRunner

from core.settings import load
from ops.cli import terminal
from ops.cli.app import app
from ops.cli.help_examples import EXAMPLES
from ops.local.config_template import STARTER
from serve.engines.fake import running
from tests.support.cli_examples import assert_understood
from tests.support.command_line import loraloop
from tools import docs_reference
from tools.live_stack import free_ports

ROOT = Path(__file__).parents[3]


def process(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli.app", *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )


def demo(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", *words]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_init_writes_a_configuration_that_loads(tmp_path: Path):
    done = process("init", cwd=tmp_path)
    assert done.returncode == 0
    assert "reviews" in load(tmp_path / "loraloop.yaml").models


def test_init_replaces_no_file_unasked(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text("mine: true\n")
    done = loraloop("init", cwd=tmp_path)
    assert done.returncode == 6
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
    ports = zip(("gateway", "control", "engine"), free_ports(3), strict=True)
    listen = "".join(f"\n{name}: {{listen: '127.0.0.1:{port}'}}" for name, port in ports)
    (tmp_path / "loraloop.yaml").write_text(content + listen)
    done = process("up", cwd=tmp_path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.rglob("*")} <= {"loraloop.yaml", "data", "up.lock"}


def test_no_configuration_says_how_to_make_one(tmp_path: Path):
    done = process("models", cwd=tmp_path)
    assert done.returncode == 1
    assert "loraloop init" in done.stderr


def test_without_control_a_reading_command_says_how_to_start_it(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text(STARTER.replace("8081", "18999"))
    done = loraloop("promotions", cwd=tmp_path)
    assert done.returncode == 7
    assert "does not answer. Start it with: loraloop up" in done.stderr
    assert done.stdout == ""


def test_off_a_terminal_a_change_needs_a_yes(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text(STARTER)
    done = loraloop("keys", "revoke", "k1", cwd=tmp_path)
    assert done.returncode == 2
    assert "--yes" in done.stderr


def test_doctor_names_a_fix_for_every_finding(tmp_path: Path):
    ports = "gateway: {listen: 127.0.0.1:18997}\ncontrol: {listen: 127.0.0.1:18998}\nengine: {listen: 127.0.0.1:18999}"
    (tmp_path / "loraloop.yaml").write_text(f"base_model: nowhere\nmodels: {{r: {{labels: [a, b]}}}}\n{ports}")
    done = loraloop("doctor", "--json", cwd=tmp_path)
    findings = json.loads(done.stdout)
    assert done.returncode == 1
    assert all(finding["fix"] for finding in findings if not finding["ok"])
    assert "base model" in {finding["check"] for finding in findings if not finding["ok"]}


def test_what_the_doctor_finds_goes_to_stdout_with_a_level_and_a_fix(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text("base_model: nowhere\nmodels: {r: {labels: [a, b]}}")
    lines = loraloop("doctor", cwd=tmp_path).stdout.splitlines()
    assert any(line.startswith("ok      configuration:") for line in lines)
    (place,) = [place for place, line in enumerate(lines) if line.startswith("fix     base model:")]
    assert lines[place + 1].startswith("        ") and "base_model" in lines[place + 1]


def test_the_version_and_a_short_help_are_there(tmp_path: Path):
    assert process("--version", cwd=tmp_path).stdout.startswith("loraloop 0.")
    assert loraloop("-h", cwd=tmp_path).stdout == loraloop("--help", cwd=tmp_path).stdout
    assert "loraloop keys create" in loraloop("keys", "create", "-h", cwd=tmp_path).stdout


def test_a_flag_has_no_type_in_the_help_because_it_takes_no_value(tmp_path: Path):
    for words in ((), ("keys",), ("keys", "revoke")):
        shown = loraloop(*words, "--help", cwd=tmp_path).stdout
        assert "--help" in shown and "bool" not in shown


def test_what_runs_on_this_machine_is_ended_and_shown_without_the_noun_too(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text(STARTER)
    for words in (("down",), ("status",), ("logs",)):
        short, long = (loraloop(*noun, *words, cwd=tmp_path) for noun in ((), ("server",)))
        assert short == long and "No such command" not in short.stderr


def test_the_demo_refuses_a_model_without_data(tmp_path: Path):
    done = demo("--models", "poems", cwd=tmp_path)
    assert done.returncode == 1
    assert "reviews, movies, tweets, editorials" in done.stderr


def test_control_alone_requires_the_key_that_gateways_show(tmp_path: Path):
    (tmp_path / "loraloop.yaml").write_text(STARTER)
    done = process("control", cwd=tmp_path)
    assert done.returncode == 1
    assert "LORALOOP_INTERNAL_KEY" in done.stderr


def test_every_setting_has_a_sentence():
    assert "|  |" not in docs_reference.configuration()


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, by its words."""
    nested = getattr(command, "commands", {})
    if words and not nested:
        yield words, command
    for name, inner in nested.items():
        yield from commands(inner, (*words, name))


ALL = dict(commands(typer.main.get_command(app)))


def test_every_command_has_an_example_and_every_example_a_command():
    assert {" ".join(words) for words in ALL} == set(EXAMPLES)


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_is_understood(line: str):
    assert_understood(line)


@pytest.mark.parametrize("words", sorted(ALL), ids=" ".join)
def test_the_help_of_a_command_shows_its_example(words: tuple[str, ...]):
    said = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert f"$ {EXAMPLES[' '.join(words)][0]}" in said


# A process that runs until it ends has a log instead of a result.
RUNS_ON = {"up", "server up", "gateway", "control"}


@pytest.mark.parametrize("words", sorted(ALL), ids=" ".join)
def test_every_command_can_print_json_and_yaml_except_processes_that_run_on(words: tuple[str, ...]):
    options = {option for parameter in ALL[words].params for option in parameter.opts}
    assert ({"--json", "-o", "--output"} <= options) == (" ".join(words) not in RUNS_ON)


@pytest.mark.parametrize(
    "name",
    [
        "models promote",
        "models rollback",
        "canary stop",
        "canary pause",
        "canary resume",
        "canary set-share",
        "models freeze",
        "models unfreeze",
        "promotions approve",
        "promotions reject",
        "backup restore",
        "data import",
        "versions import",
        "keys revoke",
        "keys rotate",
        "quarantine hold",
        "quarantine release",
        "quarantine reject",
        "dead-letters replay",
        "dead-letters drop",
        "data erase",
        "server install",
    ],
)
def test_what_changes_much_can_be_tried_and_said_yes_to(name: str):
    options = {option for parameter in ALL[tuple(name.split())].params for option in parameter.opts}
    assert {"--yes", "--dry-run"} <= options


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["models"], 1),
        (["modles"], 2),
        (["models", "--jsno"], 2),
        (["models", "promote", "reviews"], 2),
        (["models", "promote", "reviews", "many"], 2),
        (["top", "--interval", "0"], 2),
        (["snapshots"], 2),
        (["runs", "cancle", "run-1"], 2),
        (["runs", "start", "reviews", "--exit-code"], 2),
        (["promotions", "--verdict", "won"], 2),
    ],
)
def test_the_exit_code_tells_failure_from_wrong_usage(tmp_path: Path, words: list[str], code: int):
    assert loraloop(*words, cwd=tmp_path).returncode == code


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("loraloop promo", "promotions"), ("loraloop promotions ver", "verify"), ("loraloop runs ", "start")],
)
def test_the_shell_completes_commands(tmp_path: Path, typed: str, offered: str):
    asked = {"_LORALOOP_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    program = "import sys; sys.argv[0] = 'loraloop'; from ops.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
    )
    assert offered in done.stdout.split()


@pytest.mark.parametrize(
    ("state", "verdict", "code"),
    [("finished", "promoted", 0), ("finished", "kept", 3), ("failed", "failed", 1), ("canary", "canary_started", 3)],
)
def test_a_script_learns_how_a_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, verdict: str, code: int
):
    states = ["queued", state]
    run = {"id": "run-2", "reason": "why", "progress": None, "decisions": [{"verdict": verdict}]}
    api = FastAPI()
    api.get("/api/runs/run-2")(lambda: run | {"state": states.pop(0)})
    api.post("/api/models/reviews/retrain")(lambda: {"run_id": "run-2"})  # it follows this run
    monkeypatch.chdir(tmp_path)
    with running(api) as url:
        Path("loraloop.yaml").write_text(STARTER.replace("127.0.0.1:8081", url.removeprefix("http://")))
        done = CliRunner().invoke(app, ["runs", "start", "reviews", "--wait", "--exit-code", "--json"])
    assert done.exit_code == code and json.loads(done.stdout)["id"] == "run-2"


def test_a_script_learns_the_id_of_a_run_that_it_does_not_follow(tmp_path: Path):
    api = FastAPI()
    api.get("/api/runs/run-2")(lambda: {"id": "run-2", "state": "queued"})
    api.post("/api/models/reviews/retrain")(lambda: {"run_id": "run-2"})
    with running(api) as url:
        (tmp_path / "loraloop.yaml").write_text(STARTER.replace("127.0.0.1:8081", url.removeprefix("http://")))
        done = loraloop("runs", "start", "reviews", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout) == {"id": "run-2", "state": "queued"}


def test_a_bar_has_rate_and_time_left_and_restarts_with_each_phase(monkeypatch: pytest.MonkeyPatch):
    shown = io.StringIO()
    now = 0.0
    console = Console(file=shown, force_terminal=True, width=120, get_time=lambda: now)
    monkeypatch.setattr(terminal, "err", console)
    with terminal.count_bar("queued", None) as tell_of:
        for phase, total in (("training", 10), ("evaluating", 4000)):
            for done in range(4):
                tell_of(phase, done * total // 10, total)
                now += 0.15
    lines = [line for line in shown.getvalue().replace("\r", "\n").split("\n") if "evaluating" in line]
    assert "1200/4000" in lines[-1] and "/s" in lines[-1] and re.search(r"0:00:0[1-9]", lines[-1])
    # 400 in 0.15 s; a rate that went on from training's would be a tenth of it.
    assert float(re.findall(r"([\d.e+]+)/s", lines[-1])[-1]) > 1000


def test_a_command_loads_neither_a_web_server_nor_the_store_nor_libraries_of_numbers() -> None:
    heavy = ["aiohttp", "duckdb", "fastapi", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "starlette", "torch"]
    code = f"import sys, ops.cli.app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]", "these make each command a second slower: import them where they are used"
