"""Facts about holdouts: which users are in one, how often it is used, and what happens when it is used up."""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.db import evaluations, routes, runs, versions
from core.db.store import Store
from core.errors import NotReady
from core.prompts import Chat
from core.records import Feedback
from core.settings import ModelSettings
from eval import holdouts
from eval.champion_users import users_of_champion
from eval.gates.offline import LAST_USE, LEAST_USERS
from eval.holdouts import Holdout, reserve, shortage_reason
from feedback.ingest import add
from feedback.pairs import Pair
from feedback.snapshot import Report, Row, Snapshot, create_snapshot
from feedback.split import HOLDOUTS
from tests.support.ingest import NOW, asked


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


def settings(**evaluation: Any) -> ModelSettings:
    return ModelSettings.model_validate({"labels": ["a", "b"], "evaluation": evaluation})


SETTINGS = settings()


def rows(users: int, buckets: tuple[str, ...] = HOLDOUTS, *, begun: int = 0, each: int = 2) -> list[Row]:
    """So many users in each bucket, with some labels each."""
    return [
        Row(
            f"i-{bucket}-{user}-{n}",
            f"f-{bucket}-{user}-{n}",
            f"user:{bucket}-{user}",
            bucket,
            Chat((("user", "x"),)),
            "ab"[n % 2],
        )
        for bucket in buckets
        for user in range(begun, begun + users)
        for n in range(each)
    ]


def snapshot(found: list[Row]) -> Snapshot:
    return Snapshot("s", Path("s"), tuple(found), Report({}, {}, {}, {}, {}, {}))


def users(holdout: Holdout) -> set[str]:
    return {row.user for row in holdout.rows}


def test_a_holdout_belongs_to_its_run_and_counts_once_for_it(store: Store):
    said = [reserve(store, "m", run, snapshot(rows(30)), SETTINGS) for run in ("one", "one", "two")]
    assert [(one.name, one.use) for one in said] == [("h1", 1), ("h1", 1), ("h1", 2)]
    assert said[0] == said[1]


def test_without_new_users_it_ends_after_four_buckets_and_says_how_many_it_needs(store: Store):
    whole = snapshot(rows(30))
    for run in range(len(HOLDOUTS) * LAST_USE):
        assert shortage_reason(store, "m", whole, SETTINGS) is None
        reserve(store, "m", f"run-{run}", whole, SETTINGS)
    reason = shortage_reason(store, "m", whole, SETTINGS)
    assert reason is not None and "h1.2 has 0 labels from 0 unused users" in reason
    assert "30 users are missing, which is about 400 more users" in reason
    with pytest.raises(NotReady, match="No holdout can judge"):
        reserve(store, "m", "late", whole, SETTINGS)
    assert len(evaluations.holdout_uses(store, model="m")) == len(HOLDOUTS)


def test_new_users_open_spent_buckets_again_for_themselves_alone(store: Store):
    """Two hundred evaluations with new users between them: no user is in two generations of a bucket."""
    rng, known, count = random.Random(4), rows(30), 30
    asked: dict[str, set[str]] = {}
    uses: dict[str, list[int]] = {}
    for run in range(200):
        whole = snapshot(known)
        while shortage_reason(store, "m", whole, SETTINGS):
            more = rng.randrange(1, 15)
            known, count = known + rows(more, begun=count), count + more
            whole = snapshot(known)
        found = reserve(store, "m", f"run-{run}", whole, SETTINGS)
        assert len(users(found)) >= LEAST_USERS
        uses.setdefault(found.name, []).append(found.use)
        asked.setdefault(found.name, set()).update(users(found))
    assert all(each == list(range(1, LAST_USE + 1)) for each in uses.values())
    assert len(uses) == 200 // LAST_USE and "h4.10" in uses
    for bucket in HOLDOUTS:
        generations = [found for name, found in asked.items() if name.partition(".")[0] == bucket]
        assert sum(map(len, generations)) == len(set[str]().union(*generations))


def test_a_generation_has_exactly_the_users_of_no_earlier_one(store: Store):
    first = rows(30, ("h1",))
    for run in range(LAST_USE - 1):
        reserve(store, "m", f"run-{run}", snapshot(first), SETTINGS)
    # Ten users come before the last use and are in it; twenty-five come after it.
    reserve(store, "m", "last", snapshot(first + rows(10, ("h1",), begun=30)), SETTINGS)
    whole = snapshot(rows(65, ("h1",)))
    again = reserve(store, "m", "again", whole, SETTINGS)
    assert (again.name, again.use) == ("h1.2", 1)
    assert users(again) == {f"user:h1-{n}" for n in range(40, 65)}


def test_a_run_cut_short_finds_the_same_rows_after_other_runs(store: Store):
    early = snapshot(rows(40, ("h1",)))
    for run in range(LAST_USE - 1):
        reserve(store, "m", f"run-{run}", early, SETTINGS)
    cut = reserve(store, "m", "cut", early, SETTINGS)
    later = reserve(store, "m", "later", snapshot(rows(80, ("h1",))), SETTINGS)
    assert (cut.name, later.name) == ("h1", "h1.2")
    assert reserve(store, "m", "cut", early, SETTINGS) == cut
    assert reserve(store, "m", "later", snapshot(rows(80, ("h1",))), SETTINGS) == later
    assert not users(cut) & users(later)


def test_an_earlier_generation_goes_before_a_later_one(store: Store):
    for run in range(LAST_USE):
        reserve(store, "m", f"run-{run}", snapshot(rows(30, ("h1",))), SETTINGS)
    both = snapshot(rows(90, ("h1",)) + rows(20, ("h3",)))
    assert reserve(store, "m", "next", both, SETTINGS).name == "h3"


@pytest.mark.parametrize("found", [[], rows(5), rows(40, each=1)[:0], rows(LEAST_USERS - 1)])
def test_a_holdout_of_too_few_spends_no_use(store: Store, found: list[Row]):
    with pytest.raises(NotReady):
        reserve(store, "m", "run", snapshot(found), SETTINGS)
    assert evaluations.holdout_uses(store, model="m") == []
    assert evaluations.holdout_users(store, model="m") == []


def test_labels_all_alike_spend_no_use_of_a_classifier(store: Store):
    alike = snapshot(rows(40, each=1))
    assert shortage_reason(store, "m", alike, SETTINGS) is not None
    assert shortage_reason(store, "m", alike, ModelSettings.model_validate({"task": "generate"})) is None


def test_a_large_holdout_asks_whole_users_up_to_the_limit_and_leaves_the_others_for_later(store: Store):
    how, whole = settings(items=100), snapshot(rows(60, ("h1",), each=3))
    found = reserve(store, "m", "run-0", whole, how)
    assert len(found.rows) == 99 and len(users(found)) == 33
    assert all(sum(row.user == user for row in found.rows) == 3 for user in users(found))
    shuffled = list(whole.rows)
    random.Random(0).shuffle(shuffled)
    assert users(reserve(store, "m", "run-1", snapshot(shuffled), how)) == users(found)
    for run in range(2, LAST_USE):
        reserve(store, "m", f"run-{run}", whole, how)
    rest = reserve(store, "m", "rest", whole, how)
    assert rest.name == "h1.2" and users(rest) == {row.user for row in whole.rows} - users(found)


def test_a_user_who_does_not_fit_is_left_out(store: Store):
    one = [Row(f"i{n}", f"f{n}", "user:busy", "h1", Chat((("user", "x"),)), "ab"[n % 2]) for n in range(500)]
    found = reserve(store, "m", "run", snapshot(one + rows(45, ("h1",))), settings(items=100))
    assert "user:busy" not in users(found) and len(found.rows) == 90


def champion_by(store: Store, folder: Path, split: dict[str, float]) -> Snapshot:
    """The snapshot of 120 users from whom the champion has learnt by this split."""
    texts = [{"messages": [{"role": "user", "content": f"text {n}"}]} for n in range(120)]
    add(store, [asked(f"i{n}", user=f"u{n}", request=text) for n, text in enumerate(texts)])
    add(store, [Feedback(f"f{n}", NOW, f"i{n}", None, "label", "ab"[n % 2], user=f"u{n}") for n in range(120)])
    made = snapshot_by(store, folder, split, "r1")
    kept = SETTINGS.model_dump(mode="json") | {"split": split}
    runs.add(store, id="r1", model="m", trigger="t", state="finished", started=NOW, feedback_until=NOW)
    runs.set_detail(store, id="r1", detail=json.dumps({"settings": kept}))
    runs.set_snapshot(store, id="r1", snapshot=made.hash)
    about: dict[str, Any] = {"path": "x", "sha256": "x", "rank": 8, "run_id": "r1", "time": NOW, "kind": "adapter"}
    versions.add(store, model="m", version=1, engine_name="m@1", **about)
    serving: dict[str, Any] = {"canary": None, "share": 0.0, "previous": 0, "salt": "s", "decision_id": None}
    routes.add(store, model="m", rev=1, champion=1, holdback=0.0, time=NOW, **serving)
    return made


def snapshot_by(store: Store, folder: Path, split: dict[str, float], run: str) -> Snapshot:
    how = ModelSettings.model_validate({"labels": ["a", "b"], "split": split})
    return create_snapshot(store, "m", how, run_id=run, folder=folder, clock=lambda: NOW)


def test_after_a_change_of_the_split_users_of_the_champion_do_not_judge(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    large, small = {"train": 0.6, "dev": 0.05}, {"train": 0.1, "dev": 0.05}
    learnt = {row.user for row in champion_by(store, tmp_path, large).of("train")}
    changed = ModelSettings.model_validate({"labels": ["a", "b"], "split": small})
    whole = snapshot_by(store, tmp_path, small, "r2")
    held = {row.user for row in whole.rows if row.bucket in HOLDOUTS}
    assert len(held & learnt) > 30 and len(held - learnt) > 20
    assert users_of_champion(store, "m", changed) == learnt
    for name in ("LEAST_USERS", "LEAST_ITEMS"):
        monkeypatch.setattr(holdouts, name, 2)
    judging = set[str]()
    for bucket in HOLDOUTS:
        monkeypatch.setattr(holdouts, "HOLDOUTS", (bucket,))
        with suppress(NotReady):  # all users of the first buckets were learnt from
            judging |= users(reserve(store, "m", bucket, whole, changed))
    assert judging == held - learnt
    same = ModelSettings.model_validate({"labels": ["a", "b"], "split": large})
    assert users_of_champion(store, "m", same) == users_of_champion(store, "other", changed) == frozenset()


def test_others_write_while_the_users_of_the_champion_are_read(store: Store, monkeypatch: pytest.MonkeyPatch):
    written = threading.Event()

    def users_of(*_: Any) -> frozenset[str]:
        writing = threading.Thread(target=lambda: (add(store, [asked("i")]), written.set()))
        writing.start()
        writing.join(60)
        assert written.is_set()
        return frozenset({"user:h1-0"})

    monkeypatch.setattr(holdouts, "users_of_champion", users_of)
    found = reserve(store, "m", "run", snapshot(rows(30)), SETTINGS)
    assert found.name == "h1" and "user:h1-0" in found.before and "user:h1-0" not in users(found)


def reviewed(count: int, *, begun: int = 0) -> list[Row]:
    """Rows of 20 reviewers about answers to so many users of h1."""
    return [
        replace(row, user=f"user:reviewer:{n % 20}", asker=row.user)
        for n, row in enumerate(rows(count, ("h1",), begun=begun))
    ]


def test_reviewers_judge_after_a_change_of_the_split_and_in_later_generations(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    learnt = {f"user:reviewer:{n}" for n in range(20)} | {"user:h1-0"}
    monkeypatch.setattr(holdouts, "users_of_champion", lambda *_: frozenset(learnt))
    for run in range(LAST_USE):
        found = reserve(store, "m", f"run-{run}", snapshot(reviewed(30)), SETTINGS)
        assert found.name == "h1" and {row.asker for row in found.rows} == {f"user:h1-{n}" for n in range(1, 30)}
    later = reserve(store, "m", "later", snapshot(reviewed(30) + reviewed(30, begun=30)), SETTINGS)
    assert later.name == "h1.2" and {row.asker for row in later.rows} == {f"user:h1-{n}" for n in range(30, 60)}


def test_models_do_not_share_their_past(store: Store):
    whole = snapshot(rows(30))
    reserve(store, "m", "one", whole, SETTINGS)
    assert reserve(store, "other", "two", whole, SETTINGS).use == 1


PREFERRED = ModelSettings.model_validate({"task": "generate", "promotion": {"primary": {"kpi": "preference_margin"}}})


def pairs(users: int, *, each: int = 2, signal: str = "preference") -> tuple[Pair, ...]:
    """So many users of h1 with some pairs each, all of one prompt."""
    return tuple(
        Pair(f"a-{user}", f"b-{user}", f"f-{user}-{n}", f"user:h1-{user}", "h1", ASKED, f"good {n}", "bad", signal)
        for user in range(users)
        for n in range(each)
    )


ASKED = Chat((("user", "x"),))


def with_pairs(*found: Pair) -> Snapshot:
    return replace(snapshot([]), pairs=found)


def test_preferences_judge_alone_if_the_primary_kpi_is_of_preferences(store: Store):
    holdout = reserve(store, "m", "run", with_pairs(*pairs(20)), PREFERRED)
    assert (holdout.name, len(holdout.pairs)) == ("h1", 40)
    # Each user's prompt is one row to answer, with an answer that this user chose.
    assert [row.user for row in holdout.rows] == [f"user:h1-{n}" for n in range(20)]
    assert {(row.prompt, row.label, row.signal) for row in holdout.rows} == {(ASKED, "good 0", "preference")}
    assert {row.user for row in evaluations.holdout_users(store, model="m")} == {f"user:h1-{n}" for n in range(20)}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (pairs(19), "h1 has 38 preferences from 19 unused users"),
        (pairs(29, each=1), "h1 has 29 preferences from 29 unused users"),
        (pairs(40, signal="thumbs"), "has 0 preferences from 0 unused users"),
    ],
)
def test_too_few_preferences_are_no_holdout(store: Store, found: tuple[Pair, ...], said: str):
    reason = shortage_reason(store, "m", with_pairs(*found), PREFERRED)
    assert reason is not None and said in reason and "It needs 30 preferences from 20 users." in reason


def test_preferences_do_not_stand_in_for_corrections(store: Store):
    reason = shortage_reason(store, "m", with_pairs(*pairs(40)), ModelSettings.model_validate({"task": "generate"}))
    assert reason is not None and "has 0 labels" in reason


def test_a_later_generation_has_preferences_of_new_users_alone(store: Store):
    for use in range(LAST_USE):
        reserve(store, "m", f"run-{use}", with_pairs(*pairs(20)), PREFERRED)
    assert shortage_reason(store, "m", with_pairs(*pairs(20)), PREFERRED) is not None
    holdout = reserve(store, "m", "late", with_pairs(*pairs(45)), PREFERRED)
    assert holdout.name == "h1.2" and {pair.user for pair in holdout.pairs} == {f"user:h1-{n}" for n in range(20, 45)}
