"""Facts about what changing commands print for programs: what changed, and with --dry-run the same fields as a plan."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from core.db import decisions
from ops.contexts import Context, Contexts, write
from tests.support.canary import control_with_canary
from tests.support.command_line import loraloop
from tests.support.running_control import RunningControl, served_control


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from control_with_canary(tmp_path, monkeypatch)


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from served_control(tmp_path, monkeypatch)


def tried_and_done(control: RunningControl, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a command prints with --dry-run, and then without."""
    tried, done = (control.run(*words, flag, "-o", "json") for flag in ("--dry-run", "--yes"))
    assert (tried.exit_code, done.exit_code) == (0, 0), (tried.stderr, done.stderr, done.exception)
    plan, changed = json.loads(tried.stdout), json.loads(done.stdout)
    assert (plan["dry_run"], changed["dry_run"]) == (True, False)
    assert plan.keys() == changed.keys()
    return plan, changed


STEPS: list[tuple[tuple[str, ...], str, int | None, dict[str, Any]]] = [
    (("models", "freeze", "reviews"), "frozen", None, {"champion": 1, "canary": 2, "frozen": True}),
    (("models", "unfreeze", "reviews"), "unfrozen", None, {"champion": 1, "canary": 2, "frozen": False}),
    (("canary", "stop", "reviews"), "rejected", 2, {"champion": 1, "canary": None, "share": 0.0}),
    (("models", "promote", "reviews", "2"), "promoted", 2, {"champion": 2, "canary": None}),
    (("models", "rollback", "reviews"), "rolled_back", 1, {"champion": 1, "canary": None}),
]


def test_a_change_of_what_serves_names_its_decision_and_what_serves_now(control: RunningControl) -> None:
    for words, verdict, to, serves in STEPS:
        plan, changed = tried_and_done(control, *words, "-m", "why")
        last = json.loads(decisions.find(control.store, id=changed["decision_id"])["body"])  # type: ignore[index]
        assert (last["verdict"], last["to_version"], last["from_version"]) == (verdict, to, changed["from_version"])
        for found in (plan, changed):
            assert (found["verdict"], found["to_version"]) == (verdict, to), words
            assert found["serves"] | serves == found["serves"], words
            assert found["from_version"] == changed["from_version"] and found["comment"].endswith("why")
        assert plan["decision_id"] is None and plan["serves"] == changed["serves"], words


def test_a_plan_of_a_pause_is_what_the_pause_does(control: RunningControl) -> None:
    plan, changed = tried_and_done(control, "canary", "pause", "reviews")
    assert plan["serves"] == changed["serves"] and changed["serves"]["paused"] and changed["serves"]["share"] == 0
    assert changed["gateways"] == 0 and changed["complete"] is True


def test_the_api_returns_what_the_command_prints(control: RunningControl) -> None:
    url = f"http://127.0.0.1:{control.port}/api/models/reviews"
    asked = httpx.post(f"{url}/freeze", json={"comment": "a"}, trust_env=False).json()
    printed = json.loads(control.run("models", "unfreeze", "reviews", "--yes", "--json").stdout)
    assert asked.keys() == printed.keys() and asked["verdict"] == "frozen"
    document = httpx.get(f"http://127.0.0.1:{control.port}/openapi.json", trust_env=False).json()
    answer = document["paths"]["/api/models/{model}/rollback"]["post"]["responses"]["200"]
    name = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert document["components"]["schemas"][name]["properties"].keys() == printed.keys()


def test_what_control_would_refuse_is_refused_as_a_plan_too(control: RunningControl) -> None:
    for words in (
        ("models", "promote", "reviews", "1"),
        ("models", "promote", "reviews", "9"),
        ("models", "unfreeze", "reviews"),
        ("canary", "set-share", "reviews", "0.1"),
        ("runs", "cancel", "run-2"),
        ("keys", "revoke", "none"),
        ("quarantine", "release", "none"),
        ("dead-letters", "drop", "a.1.0"),
    ):
        refused = control.run(*words, "--dry-run", "-o", "json")
        assert refused.exit_code != 0 and refused.stdout == "", words


def test_a_key_is_printed_with_all_that_is_known_of_it(plain: RunningControl) -> None:
    made = json.loads(plain.run("keys", "create", "shop", "--scope", "infer", "-o", "json").stdout)
    assert made["key"].startswith(f"llk_{made['id']}_") and made["scopes"] == ["infer"] and made["name"] == "shop"
    plan, rotated = tried_and_done(plain, "keys", "rotate", made["id"], "--grace", "1h")
    assert plan["key"] is None and rotated["key"] not in (None, made["key"])
    plan, revoked = tried_and_done(plain, "keys", "revoke", made["id"])
    assert plan["revoked"] and revoked["revoked"] and "key" not in revoked


def test_a_silence_says_until_when(plain: RunningControl) -> None:
    done = json.loads(plain.run("alarms", "silence", "engine_down", "--hours", "1", "-o", "json").stdout)
    assert done["name"] == "engine_down" and done["until"]


def test_an_export_says_what_it_wrote_but_not_on_the_stdout_that_has_the_file(plain: RunningControl) -> None:
    path = plain.folder / "ledger.jsonl"
    done = yaml.safe_load(plain.run("data", "export", "decisions", str(path), "-o", "yaml").stdout)
    assert done == {"dry_run": False, "path": str(path), "kind": "decisions", "rows": 0, "bytes": 0}
    assert plain.run("data", "export", "decisions", "-", "-o", "json").exit_code == 2


def test_commands_of_this_machine_print_what_they_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    made = json.loads(loraloop("init", "--json", cwd=tmp_path).stdout)
    assert made == {"dry_run": False, "path": "loraloop.yaml", "replaced": False}
    assert json.loads(loraloop("server", "down", "--json", cwd=tmp_path).stdout)["stopped"] is False
    unit = json.loads(loraloop("server", "install", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert unit["dry_run"] and "ExecStart" in unit["unit"] and not Path(unit["path"]).exists()
    write(tmp_path / "loraloop" / "contexts.yaml", Contexts({"prod": Context("https://a.example")}))
    used = json.loads(loraloop("contexts", "use", "prod", "--json", cwd=tmp_path).stdout)
    assert used["current"] and not used["deleted"] and used["url"] == "https://a.example"
    assert json.loads(loraloop("contexts", "delete", "prod", "--json", cwd=tmp_path).stdout)["deleted"]
