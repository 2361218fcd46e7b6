"""Facts about the present state of models: each part is that of its own model."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.db import frozen_models, live_tests, model_states, routes, runs
from core.db.frozen_models import Freeze
from core.db.model_states import PastChange
from core.db.store import Store
from core.ledger import append
from core.records import Decision, Verdict

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(":memory:")
    yield made
    made.close()


def route(store: Store, model: str, rev: int, champion: int, decision: str | None = None, **changes: Any) -> None:
    plain: dict[str, Any] = {
        "canary": None,
        "share": 0.0,
        "previous": None,
        "salt": "s",
        "holdback": 0.0,
        "anchor": None,
    } | changes
    time = NOW + timedelta(hours=rev)
    routes.add(store, model=model, rev=rev, time=time, champion=champion, decision_id=decision, **plain)


def decided(store: Store, model: str, verdict: Verdict, version: int, hour: int) -> None:
    with store.transaction() as transaction:
        append(
            transaction,
            Decision(
                id=f"{model}-{hour}",
                time=NOW + timedelta(hours=hour),
                model=model,
                from_version=0,
                to_version=version,
                verdict=verdict,
                reason="because",
                trigger="t",
                actor="a",
            ),
        )


def test_a_champion_serves_since_the_first_route_after_another_one(store: Store) -> None:
    for rev, (champion, decision) in enumerate(((0, None), (1, "d1"), (0, "d2"), (0, "d3"), (0, "d4")), start=1):
        route(store, "m", rev, champion, decision)
    route(store, "other", 1, 4)
    state = model_states.of(store, ["m"])["m"]
    assert (state.route.rev, state.route.champion) == (5, 0)
    assert (state.since, state.since_decision) == (NOW + timedelta(hours=3), "d2")
    assert set(model_states.of(store, ["m", "other", "unknown"])) == {"m", "other"}


def test_the_first_route_of_a_champion_may_have_no_decision(store: Store) -> None:
    route(store, "m", 1, 0)
    route(store, "m", 2, 0, "d", canary=1, share=0.1)
    state = model_states.of(store, ["m"])["m"]
    assert (state.since, state.since_decision) == (NOW + timedelta(hours=1), None)
    assert (state.route.canary, state.route.share) == (1, 0.1)


def test_the_newest_promotion_and_rollback_of_each_model(store: Store) -> None:
    for model in ("m", "other"):
        route(store, model, 1, 0)
    decided(store, "m", Verdict.PROMOTED, 1, 1)
    decided(store, "other", Verdict.PROMOTED, 9, 2)
    decided(store, "m", Verdict.ROLLED_BACK, 0, 3)
    decided(store, "m", Verdict.PROMOTED, 2, 4)
    decided(store, "m", Verdict.KEPT, 3, 5)
    found = model_states.of(store, ["m", "other"])
    assert found["m"].promoted == PastChange(NOW + timedelta(hours=4), 2)
    assert found["m"].rolled_back == PastChange(NOW + timedelta(hours=3), 0)
    assert found["other"].promoted == PastChange(NOW + timedelta(hours=2), 9) and found["other"].rolled_back is None
    assert [found[model].newest_decision for model in ("m", "other")] == [5, 2]


def test_what_goes_on_is_the_models_own(store: Store) -> None:
    for model in ("m", "other"):
        route(store, model, 1, 0)
        runs.add(store, id=f"r-{model}", model=model, trigger="t", state="training", started=NOW, feedback_until=NOW)
    runs.set_state(store, id="r-other", state="finished", time=NOW, reason="done")
    frozen_models.add(store, model="m", time=NOW, actor="ann", comment="a launch")
    until = NOW + timedelta(days=3)
    live_tests.add_holdback(
        store,
        run_id="r-other",
        model="other",
        promoted=1,
        held=0,
        share=0.05,
        score_sd=0.5,
        started=NOW,
        until=until,
        plan="{}",
    )
    found = model_states.of(store, ["m", "other"])
    assert found["m"].run == ("r-m", "training") and found["other"].run is None
    assert found["m"].freeze == Freeze(NOW, "ann", "a launch") and found["other"].freeze is None
    held = found["other"].holdback
    assert held is not None and (held["version"], held["share"], held["until"]) == (0, 0.05, until)
    live_tests.close_holdback(store, time=NOW, model="other")
    assert model_states.of(store, ["other"])["other"].holdback is None
