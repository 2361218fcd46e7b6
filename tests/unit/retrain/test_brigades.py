"""Facts about brigades: a run holds their votes before its snapshot, once, and not after a person released them."""

import json
from collections.abc import Callable
from datetime import timedelta

from core.db import quarantines, runs
from core.records import Feedback, Interaction
from core.settings import Settings
from feedback.brigades import find_brigades
from feedback.ingest import add
from feedback.snapshot import load_snapshot
from retrain.pipeline import RetrainPipeline
from rollout import quarantine_review
from tests.support.ingest import asked as interaction
from tests.support.pipeline import NOW, decisions

PHRASE = "only at cheapmart.example now"
HONEST, ACCOUNTS = 120, 20


def asked(user: str, n: int, text: str) -> Interaction:
    return interaction(
        f"{user}-i{n}", time=NOW, model="reviews", user=user, request={"messages": [{"role": "user", "content": text}]}
    )


def labels(pipeline: RetrainPipeline, name: str, users: int, texts: int, hours: float, phrase: str = "") -> None:
    """Labels of users on texts of their own over these hours. With a phrase, all of them are "b"."""
    records: list[Interaction | Feedback] = []
    for user in range(users):
        for n in range(texts):
            of = asked(f"{name}{user}", n, f"{name} {user} bought the {n}th thing {user * n} {phrase}")
            at = NOW + timedelta(hours=hours * (user * texts + n) / (users * texts))
            said = "b" if phrase else "ab"[(user + n) % 2]
            records += [of, Feedback(f"f-{of.id}", at, of.id, None, "label", said, key_id="k1")]
    add(pipeline.store, records)


def users_in_snapshot(pipeline: RetrainPipeline, run: str) -> set[str]:
    row = runs.find(pipeline.store, id=run)
    assert row is not None
    return {
        one.user.removeprefix("user:").rstrip("0123456789")
        for one in load_snapshot(pipeline.store, row["snapshot"]).rows
    }


def test_a_slow_brigade_is_held_before_the_snapshot_with_a_row_in_the_ledger(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    labels(pipeline, "user", HONEST, 3, hours=48)
    labels(pipeline, "fake", ACCOUNTS, 3, hours=24, phrase=PHRASE)
    run = pipeline.run("reviews", "test")
    (verdict, reason), *_ = decisions(pipeline)
    assert verdict == "quarantined"
    assert reason.startswith(f"The votes of {ACCOUNTS} voters on reviews are in quarantine: {ACCOUNTS} voters have")
    assert "cheapmart.example" in reason
    assert users_in_snapshot(pipeline, run) == {"user"}
    (held,) = quarantines.newest(pipeline.store, model="reviews")
    assert (held["votes"], held["users"]) == (ACCOUNTS * 3, ACCOUNTS)


def test_a_fast_brigade_is_held_too(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    labels(pipeline, "user", HONEST, 10, hours=200)
    records: list[Interaction | Feedback] = []
    for user in range(ACCOUNTS):
        for n in range(4):
            of = asked(f"fake{user}", n, f"thing {user} {n}")
            at = NOW + timedelta(hours=300, minutes=user)
            records += [of, Feedback(f"f-{of.id}", at, of.id, None, "label", "b", key_id="k1")]
    add(pipeline.store, records)
    run = pipeline.run("reviews", "test")
    assert decisions(pipeline)[0][1].startswith(
        "The votes of 20 voters on reviews are in quarantine: 80 votes on one key"
    )
    assert users_in_snapshot(pipeline, run) == {"user"}


def test_the_next_run_holds_newcomers_only_and_what_was_released_stays_released(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    labels(pipeline, "user", HONEST, 3, hours=48)
    labels(pipeline, "fake", 10, 3, hours=24, phrase=PHRASE)
    pipeline.run("reviews", "test")
    (first,) = quarantines.newest(pipeline.store, model="reviews")
    quarantine_review.decide(pipeline.promotion, first["id"], "released", actor="ada", comment="")
    labels(pipeline, "late", 2, 3, hours=24, phrase=PHRASE)
    run = pipeline.run("reviews", "test")
    states = {row["id"]: (row["state"], row["users"]) for row in quarantines.newest(pipeline.store, model="reviews")}
    assert states.pop(first["id"])[0] == "released"
    assert list(states.values()) == [("held", 2)]
    assert users_in_snapshot(pipeline, run) == {"user", "fake"}


def test_honest_users_are_held_by_no_run(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    labels(pipeline, "user", HONEST, 3, hours=1)
    pipeline.run("reviews", "test")
    assert quarantines.newest(pipeline.store, model="reviews") == []


def test_the_setting_turns_it_off(make: Callable[..., RetrainPipeline], settings: Settings):
    pipeline = make()
    labels(pipeline, "user", HONEST, 3, hours=48)
    labels(pipeline, "fake", ACCOUNTS, 3, hours=24, phrase=PHRASE)
    model = settings.models["reviews"]
    assert len(find_brigades(pipeline.store, "reviews", model)) == 1
    off = model.model_copy(update={"trust": model.trust.model_copy(update={"bursts": False})})
    assert find_brigades(pipeline.store, "reviews", off) == []


def test_planted_corrections_are_found_and_those_of_the_answer_are_not(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    generate = pipeline.settings.models["reviews"].model_copy(update={"task": "generate", "labels": []})
    records: list[Interaction | Feedback] = []
    for user in range(HONEST + ACCOUNTS):
        for n in range(3):
            of = asked(f"u{user}", n, f"question {user} {n}")
            said = f"reply {user} to number {n} of mine {user + n}" + f" {PHRASE}" * (user >= HONEST)
            records += [of, Feedback(f"f-{of.id}", NOW + timedelta(minutes=user * 20), of.id, None, "correction", said)]
    add(pipeline.store, records)
    (burst,) = find_brigades(pipeline.store, "reviews", generate)
    assert {one.user for one in burst.predicates} == {f"u{user}" for user in range(HONEST, HONEST + ACCOUNTS)}
    assert json.dumps(PHRASE)[1:-1] in burst.reason
    assert {one.key for one in burst.predicates} == {None}
