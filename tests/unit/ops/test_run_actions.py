"""Facts about cancelling, pausing and resuming a run by console, command line and API."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.db import decisions, runs
from serve.engines.fake import running
from tests.support.console_security import KeyedConsole
from tests.support.running_control import RunningControl


def queued(console: KeyedConsole) -> str:
    """A run that waits for another one; its id."""
    return str(console.control.scheduler.pipeline.queue("reviews", "asked for", "key:bob").id)


def state(console: KeyedConsole, run: str) -> str:
    return str((runs.find(console.control.store, id=run) or {})["state"])


def test_two_clicks_cancel_a_run_and_the_ledger_says_who(console: KeyedConsole) -> None:
    run = queued(console)
    console.log_in("actor")
    page = console.browser.get(f"/runs/{run}").text
    assert f'href="/runs/{run}/cancel"' in page and f'href="/runs/{run}/pause"' in page
    assert "Cancel the run of reviews?" in console.browser.get(f"/runs/{run}/cancel").text
    assert console.form(f"/runs/{run}/cancel", comment="wrong labels").status_code == 303
    assert state(console, run) == "cancelled"
    last = json.loads(decisions.chain(console.control.store)[-1]["body"])
    assert (last["verdict"], last["run_id"], last["comment"]) == ("cancelled", run, "wrong labels")
    assert last["actor"].startswith("actor (key ")
    page = console.browser.get(f"/runs/{run}").text
    assert "/cancel" not in page and "Run cancelled" in page and "wrong labels" in page
    assert console.browser.get(f"/runs/{run}/cancel").status_code == 409


def test_a_paused_run_offers_to_resume_it(console: KeyedConsole) -> None:
    run = queued(console)
    console.log_in("actor")
    assert console.form(f"/runs/{run}/pause", comment="the machine is needed").status_code == 303
    assert state(console, run) == "paused"
    page = console.browser.get(f"/runs/{run}").text
    assert f'href="/runs/{run}/resume"' in page and f'href="/runs/{run}/pause"' not in page
    assert "the machine is needed" in page
    assert console.browser.get(f"/runs/{run}/pause").status_code == 409


def test_who_only_reads_gets_no_button_and_is_refused(console: KeyedConsole) -> None:
    run = queued(console)
    console.log_in("reader")
    assert "/cancel" not in console.browser.get(f"/runs/{run}").text
    assert console.browser.get(f"/runs/{run}/cancel").status_code == 403
    assert console.browser.post(f"/runs/{run}/cancel", data={}).status_code == 403
    assert state(console, run) == "queued"


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", "k")
    made = RunningControl(tmp_path)
    with running(made.app, made.port):
        yield made


def test_commands_say_the_state_and_a_second_one_is_refused(control: RunningControl) -> None:
    run = control.app.state.control.scheduler.pipeline.queue("reviews", "asked for").id
    shown = control.run("runs", "show", run)
    assert shown.exit_code == 0 and "queued" in shown.stdout
    assert control.run("runs", "pause", run).stderr.strip() == f"{run} is paused."
    assert "is paused already" in str(control.run("runs", "pause", run).exception)
    done = control.run("runs", "cancel", run, "--yes", "--json", "-m", "no")
    assert json.loads(done.stdout)["state"] == "cancelled"
    again = control.run("runs", "cancel", run, "--yes")
    assert again.exit_code == 1 and "has ended: it is cancelled" in str(again.exception)
    assert "is not paused" in str(control.run("runs", "resume", run).exception)
    assert "There is no run" in str(control.run("runs", "show", "run-none").exception)


def test_a_run_that_is_asked_for_has_an_id(control: RunningControl) -> None:
    url = f"http://127.0.0.1:{control.port}/api"
    answer = httpx.post(f"{url}/models/reviews/retrain", json={})
    assert answer.status_code == 202
    assert httpx.get(f"{url}/runs/{answer.json()['run_id']}").json()["model"] == "reviews"
