"""Facts about a model's versions: how many votes that they learnt from were taken back since, and which."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.db import erasures, routes, runs, versions
from core.db.quarantines import Predicate
from core.db.store import Store
from core.records import Revocation
from core.settings import ModelSettings
from feedback import quarantine
from feedback.erasure import Receipt
from feedback.ingest import add
from feedback.quarantine import Hold
from feedback.snapshot import Snapshot, create_snapshot
from tests.support.console import Console
from tests.support.pipeline import NOW, vote
from tests.support.running_control import RunningControl, served_control

LATER = NOW + timedelta(days=1)


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from served_control(tmp_path, monkeypatch)


def learnt(store: Store, folder: Path) -> Snapshot:
    """Version 1 of a run on 40 votes, and version 2 that no run made."""
    vote(store, 40)
    settings = ModelSettings(labels=["a", "b"])
    made = create_snapshot(store, "reviews", settings, run_id="run-1", folder=folder, clock=lambda: NOW)
    runs.add(store, id="run-1", model="reviews", trigger="t", state="finished", started=NOW, feedback_until=NOW)
    runs.set_snapshot(store, snapshot=made.hash, id="run-1")
    for number, run in ((1, "run-1"), (2, None)):
        name = f"reviews@{number}.x"
        plain: dict[str, Any] = {"path": name, "sha256": "s", "rank": 8, "run_id": run, "time": NOW, "kind": "adapter"}
        versions.add(store, model="reviews", version=number, engine_name=name, **plain)
    return made


def shown(control: RunningControl, *words: str) -> Any:
    done = control.run("versions", *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_version_counts_and_lists_the_votes_that_it_lost(control: RunningControl, tmp_path: Path) -> None:
    made = learnt(control.store, tmp_path / "data" / "snapshots")
    assert [(row["revoked"], row["in_quarantine"]) for row in shown(control, "list", "reviews")] == [
        (None, None),
        (0, 0),
        (None, None),
    ]
    train, others = made.of("train"), [row for row in made.rows if row.bucket != "train"]
    gone = [train[0].feedback_id, train[1].feedback_id, others[0].feedback_id]
    add(control.store, [Revocation(id, LATER) for id in gone])
    held = train[2].user.removeprefix("user:")
    with control.store.transaction() as transaction:
        request = Hold("q", (Predicate(user=held),))
        quarantine.hold(transaction, "reviews", request, decision_id="d", time=NOW)
    assert [(row["revoked"], row["in_quarantine"]) for row in shown(control, "list", "reviews")][1] == (2, 1)
    found = shown(control, "show", "reviews", "1")
    assert (found["kind"], found["snapshot"], found["erasures"]) == ("adapter", made.hash, [])
    assert {row["feedback_id"] for row in found["taken_back"]} == {*gone[:2], train[2].feedback_id}
    assert [row["revoked"] is None for row in found["taken_back"]] == [False, False, True]
    assert {row["interaction_id"] for row in found["taken_back"]} == {row.interaction_id for row in train[:3]}
    text = control.run("versions", "show", "reviews", "1").stdout
    assert gone[0] in text and "votes revoked since" in text
    assert "There is no version 'reviews@7'" in str(control.run("versions", "show", "reviews", "7").exception)


def test_a_version_names_the_erasures_of_users_that_it_learnt_from(control: RunningControl, tmp_path: Path) -> None:
    learnt(control.store, tmp_path / "data" / "snapshots")
    for id, named in (("e1", ["reviews@1"]), ("e2", ["reviews@10"]), ("e3", ["other@1", "reviews@1"])):
        with control.store.transaction() as transaction:
            erasures.add(transaction, id=id, time=NOW, user="u", user_hash="h", key=None, actor="", comment="")
            erasures.set_receipt(transaction, id=id, receipt=Receipt("h", versions=named).to_json())
    assert shown(control, "show", "reviews", "1")["erasures"] == ["e1", "e3"]
    assert shown(control, "show", "reviews", "2")["erasures"] == []


def test_the_console_says_it_of_the_champion(tmp_path: Path) -> None:
    console = Console()
    made = learnt(console.store, tmp_path)
    routes.add(
        console.store,
        model="reviews",
        rev=2,
        champion=1,
        canary=None,
        share=0.0,
        previous=0,
        salt="s",
        decision_id=None,
        time=NOW,
        holdback=0.0,
    )
    assert 'id="taken-back"' not in console.page("/models/reviews")
    add(console.store, [Revocation(made.of("train")[0].feedback_id, LATER)])
    page = console.page("/models/reviews")
    assert "1 were revoked since" in " ".join(page.split()) and "loraloop versions show reviews 1" in page
