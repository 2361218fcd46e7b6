"""Facts about the systemd unit: the page shows what the command writes, and it waits as long as `up` may need."""

import configparser
import re
from pathlib import Path

import pytest

from core.settings import build, load
from ops.local import systemd_unit
from ops.local.shutdown import stop_seconds
from ops.local.systemd_unit import Unit
from ops.local.up import Stack
from serve.engines.process import STOP_SECONDS
from tests.support.command_line import Ended, loraloop

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "tls-and-systemd.md"
MODELS = {"reviews": {"labels": ["a", "b"]}}
CONFIG = "models: {reviews: {labels: [a, b]}}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "loraloop.yaml").write_text(CONFIG)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def install(home: Path, *words: str) -> Ended:
    return loraloop("server", "install", *words, cwd=home)


def parsed(text: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(text)
    return found


def test_the_page_shows_what_the_command_prints(home: Path) -> None:
    page = PAGE.read_text()
    (typed,) = re.findall(r"^loraloop (server install [^`]*?) --dry-run$", page.replace("\\\n  ", ""), re.M)
    words = typed.replace("--config /srv/loraloop/loraloop.yaml", "").split()
    printed = loraloop(*words, "--dry-run", cwd=home).stdout
    script = " ".join(systemd_unit.command_of_this_process())
    here = printed.replace(script, "/srv/loraloop/.venv/bin/loraloop").replace(str(home), "/srv/loraloop")
    assert f"```ini\n{here}```" in page


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        ({}, 30 + 80),
        ({"gateway": {"drain_seconds": 200}}, 200 + 80),
        ({"engine": {"urls": ["http://e"]}}, 30 + 65),
    ],
)
def test_systemd_waits_longer_than_up_may_need(tmp_path: Path, content: dict[str, object], seconds: int) -> None:
    settings = build({"models": MODELS, **content})
    unit = parsed(Unit(("loraloop",), tmp_path / "loraloop.yaml", "ada").text(settings))
    assert float(unit["Service"]["TimeoutStopSec"]) == stop_seconds(settings) == seconds


def test_the_time_that_up_gives_its_processes_is_the_time_of_the_unit(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "loraloop.yaml").write_text(CONFIG + "gateway: {drain_seconds: 70}\n")
    settings, started = load(home / "loraloop.yaml"), list[float]()
    stack = Stack(settings, home / "loraloop.yaml", lambda _: None)
    monkeypatch.setattr("ops.local.up.prepare", lambda *_: None)
    monkeypatch.setattr(stack, "_start_engine", lambda _: started.append(STOP_SECONDS))
    monkeypatch.setattr(stack, "_add", lambda name, listen, grace_s=STOP_SECONDS: started.append(grace_s))
    monkeypatch.setattr(stack, "_await", lambda *_: None)
    stack.start()
    stack.stop()
    assert len(started) == 3 and sum(started) < stop_seconds(settings) <= sum(started) + 30


def test_a_user_gets_a_unit_without_root(home: Path) -> None:
    done = install(home, "--user")
    file = home / "config" / "systemd" / "user" / "loraloop.service"
    unit = parsed(file.read_text())
    assert done.returncode == 0 and not done.stdout and "systemctl --user enable --now loraloop" in done.stderr
    assert unit["Install"]["WantedBy"] == "default.target" and "User" not in unit["Service"]
    assert unit["Service"]["WorkingDirectory"] == str(home) and unit["Service"]["ExecStart"].endswith(" up")
    assert f"LORALOOP_CONFIG={home / 'loraloop.yaml'}" in unit["Service"]["Environment"]
    assert install(home).returncode == 0, "the same unit again needs no answer"
    file.write_text("mine")
    assert install(home).returncode == 2 and file.read_text() == "mine"
    assert install(home, "--yes").returncode == 0 and parsed(file.read_text()) == unit


def test_a_dry_run_writes_nothing(home: Path) -> None:
    done = install(home, "--dry-run")
    assert done.stdout.startswith("[Unit]\n") and "Nothing was done" in done.stderr
    assert not (home / "config").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--env", "LORALOOP_OPS_KEY=secret"), "Use LORALOOP_OPS_KEY_FILE."),
        (("--env", "A B"), "Write --env NAME=VALUE."),
        (("--env", "A=b\nExecStart=/bin/sh"), "Write --env NAME=VALUE."),
        (("--user", "--run-as", "ada"), "--run-as"),
    ],
)
def test_what_a_unit_must_not_have_is_refused(home: Path, words: tuple[str, ...], said: str) -> None:
    done = install(home, *words)
    assert done.returncode != 0 and said in done.stderr and "[Service]" not in done.stdout


def test_nobody_runs_it_as_root_by_accident(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda _: type("Entry", (), {"pw_name": "root"}))
    assert "--run-as USER" in install(home, "--system", "--dry-run").stderr
    monkeypatch.setattr("pwd.getpwuid", lambda _: type("Entry", (), {"pw_name": "ada"}))
    assert parsed(install(home, "--system", "--dry-run").stdout)["Service"]["User"] == "ada"


def test_odd_characters_are_quoted_for_systemd() -> None:
    unit = Unit(("/a b/100%$x/loraloop",), Path("/a b/100%/l.yaml"), None, {"A": 'a "b" $c'})
    lines = unit.text(build({"models": MODELS})).splitlines()
    assert 'ExecStart="/a b/100%%$$x/loraloop" up' in lines and "WorkingDirectory=/a b/100%%" in lines
    assert 'Environment="A=a \\"b\\" $c"' in lines
