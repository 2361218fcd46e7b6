"""Facts about pausing, resuming and widening a canary, and freezing a model, by console, command line, API, client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.db import decisions, frozen_models
from loraloop import Client
from ops import views
from tests.support.canary import control_with_canary, start_canary
from tests.support.console_security import KeyedConsole
from tests.support.running_control import RunningControl


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from control_with_canary(tmp_path, monkeypatch)


def last(store: Any) -> dict[str, Any]:
    return dict(json.loads(decisions.chain(store)[-1]["body"]))


def test_a_canary_is_paused_resumed_and_widened_in_the_console(console: KeyedConsole) -> None:
    start_canary(console.control, console.control.store)
    console.log_in("actor")
    page = console.browser.get("/models/reviews").text
    assert 'href="/models/reviews/canary/pause"' in page and 'href="/models/reviews/canary/resume"' not in page
    asked = console.browser.get("/models/reviews/canary/pause").text
    assert "Pause the canary v2 of reviews?" in asked and "Keep the data" not in asked
    assert console.form("/models/reviews/canary/pause", comment="an outage").status_code == 303
    assert last(console.control.store)["verdict"] == "canary_paused"
    page = console.browser.get("/overview").text
    assert (
        "paused" in page
        and 'href="/models/reviews/canary/resume"' in page
        and "It serves nobody until it is resumed or stopped." in page
    )
    assert console.browser.get("/models/reviews/canary/share").status_code == 409
    assert "v2, 10% of users" in console.browser.get("/models/reviews/canary/resume").text
    assert console.form("/models/reviews/canary/resume").status_code == 303
    asked = console.browser.get("/models/reviews/canary/share").text
    assert 'name="percent"' in asked and "Share of users, in percent" in asked and 'value="10"' in asked
    assert console.form("/models/reviews/canary/share", percent="25").status_code == 303
    assert console.control.promotion.route("reviews").share == 0.25
    assert last(console.control.store)["actor"].startswith("actor (key ")


def test_what_served_when_says_paused_where_a_canary_served_nobody(console: KeyedConsole) -> None:
    start_canary(console.control, console.control.store)
    console.log_in("actor")
    assert console.form("/models/reviews/canary/pause").status_code == 303
    table = console.browser.get("/models/reviews").text.partition("What served when")[2]
    assert "v2, paused</td>" in table and "v2, 10%</td>" in table and "0%</td>" not in table.replace("10%", "")


def test_what_limits_a_model_names_its_freeze(console: KeyedConsole) -> None:
    assert views.model(console.control, "reviews")["limits"] is None
    frozen_models.add(console.control.store, model="reviews", time=console.clock(), actor="ann", comment="a launch")
    assert "a launch" in views.model(console.control, "reviews")["limits"]


@pytest.mark.parametrize("percent", ["", "0", "51", "-3", "nan", "inf", "ten"])
def test_a_share_that_cannot_be_is_refused_with_the_field(console: KeyedConsole, percent: str) -> None:
    start_canary(console.control, console.control.store)
    console.log_in("actor")
    answer = console.form("/models/reviews/canary/share", percent=percent)
    assert answer.status_code == 422 and "percent" in answer.text
    assert console.control.promotion.route("reviews").share == 0.1


def test_a_freeze_is_on_the_page_of_the_model_with_who_and_why_and_on_the_overview(console: KeyedConsole) -> None:
    console.log_in("actor")
    assert "Freeze reviews?" in console.browser.get("/models/reviews/freeze").text
    assert console.form("/models/reviews/freeze", comment="no changes <before> the launch").status_code == 303
    text = console.browser.get("/models/reviews").text
    assert "no changes &lt;before&gt; the launch" in text and 'href="/models/reviews/unfreeze"' in text
    assert "reviews is frozen." in console.browser.get("/overview").text
    assert console.browser.get("/models/reviews/freeze").status_code == 409
    assert "End the freeze of reviews?" in console.browser.get("/models/reviews/unfreeze").text
    assert console.form("/models/reviews/unfreeze").status_code == 303
    assert last(console.control.store)["verdict"] == "unfrozen"
    assert console.browser.get("/models/reviews/unfreeze").status_code == 409


def test_who_only_reads_changes_nothing(console: KeyedConsole) -> None:
    start_canary(console.control, console.control.store)
    console.log_in("reader")
    page = console.browser.get("/models/reviews").text
    assert "canary/pause" not in page and "/freeze" not in page
    for path in ("canary/pause", "canary/share", "freeze"):
        assert console.browser.post(f"/models/reviews/{path}", data={"version": 2}).status_code == 403


def test_commands_say_first_what_they_do_and_then_do_it(control: RunningControl) -> None:
    tried = control.run("canary", "pause", "reviews", "--dry-run")
    assert "The canary reviews@2 pauses. reviews@1 serves everyone." in tried.stderr and tried.exit_code == 0
    assert last(control.store)["verdict"] != "canary_paused"
    assert control.run("canary", "pause", "reviews", "--yes", "-m", "an outage").exit_code == 0
    assert last(control.store)["comment"].endswith("an outage")
    assert "paused" in control.run("models").stdout
    early = control.run("canary", "set-share", "reviews", "0.2", "--yes")
    assert early.exit_code == 1 and "is paused" in str(early.exception)
    assert "serves 10% of users again" in control.run("canary", "resume", "reviews", "--yes").stderr
    assert control.run("canary", "set-share", "reviews", "0.2", "--yes").exit_code == 0
    assert control.app.state.control.promotion.route("reviews").share == 0.2
    assert control.run("canary", "set-share", "reviews", "0.7", "--yes").exit_code == 2
    assert control.run("canary", "resume", "reviews", "--yes").exit_code == 1


def test_a_freeze_by_command_says_how_to_end_it(control: RunningControl) -> None:
    done = control.run("models", "freeze", "reviews", "--yes", "-m", "a launch")
    assert done.exit_code == 0 and "loraloop models unfreeze reviews" in done.stderr
    (row,) = json.loads(control.run("models", "--json").stdout)
    assert row["frozen"]["comment"].endswith("a launch") and "a launch" in row["limits"]
    again = control.run("models", "freeze", "reviews", "--yes")
    assert again.exit_code == 1 and "frozen already" in str(again.exception)
    assert control.run("models", "unfreeze", "reviews", "--yes").exit_code == 0
    assert last(control.store)["verdict"] == "unfrozen"


def test_the_client_does_the_same(control: RunningControl) -> None:
    with Client(control=f"http://127.0.0.1:{control.port}") as client:
        client.pause_canary("reviews", comment="an outage")
        client.resume_canary("reviews")
        client.set_canary_share("reviews", 0.3)
        assert client.freeze("reviews", comment="a launch")["serves"]["frozen"] is True
        assert client.unfreeze("reviews")["serves"]["frozen"] is False
    verdicts = [row["verdict"] for row in decisions.chain(control.store)][-5:]
    assert verdicts == ["canary_paused", "canary_resumed", "share_changed", "frozen", "unfrozen"]


def test_the_api_names_the_field_of_a_bad_share(control: RunningControl) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{control.port}/api/models/reviews/canary/share",
        json={"share": 0.7},
        trust_env=False,
    )
    assert answer.status_code == 422 and "share" in answer.text
