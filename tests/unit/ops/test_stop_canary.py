"""Facts about stopping a canary by console, command line and API: one act each, and the champion stays."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.db import decisions, runs
from core.db.store import Store
from tests.support.canary import control_with_canary, start_canary
from tests.support.console_security import KeyedConsole
from tests.support.running_control import RunningControl


def stopped(control: Any, store: Store) -> dict[str, Any]:
    """The decision that stopped it, once what serves is checked."""
    route = control.promotion.route("reviews")
    assert (route.champion, route.canary) == (1, None)
    assert (runs.find(store, id="run-2") or {})["state"] == "finished"
    last = json.loads(decisions.chain(store)[-1]["body"])
    assert (last["verdict"], last["to_version"], last["run_id"]) == ("rejected", 2, "run-2")
    return last


def test_two_clicks_stop_a_canary(console: KeyedConsole) -> None:
    start_canary(console.control, console.control.store)
    console.log_in("actor")
    link = 'href="/models/reviews/canary/stop"'
    pages = ["/overview", "/models/reviews", f"/promotions/{decisions.chain(console.control.store)[-1]['id']}"]
    assert all(link in console.browser.get(page).text for page in pages)
    page = console.browser.get("/models/reviews/canary/stop").text
    assert "Stop the canary v2 of reviews?" in page and "What started the canary" in page
    assert console.form("/models/reviews/canary/stop", comment="wrong language").status_code == 303
    last = stopped(console.control, console.control.store)
    assert last["comment"] == "wrong language" and last["actor"].startswith("actor (key ")
    assert not any(link in console.browser.get(page).text for page in pages)
    assert console.browser.get("/models/reviews/canary/stop").status_code == 409


def test_who_only_reads_gets_no_button_and_is_refused(console: KeyedConsole) -> None:
    start_canary(console.control, console.control.store)
    console.log_in("reader")
    assert "canary/stop" not in console.browser.get("/models/reviews").text
    assert console.browser.get("/models/reviews/canary/stop").status_code == 403
    assert console.browser.post("/models/reviews/canary/stop", data={"version": 2}).status_code == 403
    assert console.control.promotion.route("reviews").canary == 2


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from control_with_canary(tmp_path, monkeypatch)


@pytest.mark.parametrize("words", [("canary", "stop", "reviews"), ("rollback", "reviews")])
def test_one_command_stops_a_canary_and_says_first_what_it_does(
    control: RunningControl, words: tuple[str, ...]
) -> None:
    tried = control.run(*words, "--dry-run")
    assert tried.exit_code == 0
    assert "The canary reviews@2 stops. reviews@1 serves everyone." in tried.stderr
    assert control.app.state.control.promotion.route("reviews").canary == 2
    done = control.run(*words, "--yes", "-m", "wrong language")
    assert done.exit_code == 0 and "Done: 0 gateways had it" in done.stderr
    assert stopped(control.app.state.control, control.store)["comment"].endswith("wrong language")


def test_a_rollback_to_a_named_version_replaces_the_champion_and_ends_the_canary(control: RunningControl) -> None:
    assert control.run("models", "rollback", "reviews", "--to", "0", "--yes").exit_code == 0
    route = control.app.state.control.promotion.route("reviews")
    assert (route.champion, route.canary) == (0, None)


def test_without_a_canary_the_command_says_what_to_do(control: RunningControl) -> None:
    control.run("canary", "stop", "reviews", "--yes")
    again = control.run("canary", "stop", "reviews", "--yes")
    assert again.exit_code == 1 and "reviews has no canary" in str(again.exception)
    assert "reviews has no canary" not in str(control.run("canary", "stop", "nothing", "--yes").exception)
