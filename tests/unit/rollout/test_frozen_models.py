"""Facts about a frozen model: nothing new serves users automatically, harm still ends, and people may still act."""

from datetime import timedelta

import pytest

from core.errors import AlreadyDone, NotFound, NotReady
from core.ledger import verify_store
from core.records import Verdict
from rollout import frozen_models
from tests.support.workflow import CANARY, PLAIN, RolloutHarness

FREE = {"limits": {"window_hours": 0, "cooldown_hours": 0}, "holdback": None}
SAID = "m was frozen by ann on 2026-05-01 12:00 UTC (a launch). To end it: loraloop models unfreeze m"


def freeze(harness: RolloutHarness) -> None:
    frozen_models.freeze(harness.promotion, "m", "ann", "a launch")


def unfreeze(harness: RolloutHarness) -> None:
    frozen_models.unfreeze(harness.promotion, "m", "bob", "")


def test_no_run_begins_and_the_ledger_says_so_once() -> None:
    harness = RolloutHarness(**PLAIN)
    freeze(harness)
    assert harness.last()["verdict"] == "frozen" and harness.last()["reason"].startswith(
        "m was frozen by ann: a launch."
    )
    assert not harness.steps.may_begin("m", "votes") and not harness.steps.may_begin("m", "schedule")
    assert harness.verdicts() == ["frozen", "skipped"] and harness.last()["reason"] == SAID
    unfreeze(harness)
    assert harness.last()["reason"] == "The freeze of m was ended by bob."
    assert harness.steps.may_begin("m", "votes") and verify_store(harness.store).ok


def test_a_candidate_of_a_run_under_way_serves_nobody() -> None:
    harness = RolloutHarness(**PLAIN)
    freeze(harness)
    harness.offer()
    assert harness.promotion.route("m").champion == 0
    assert harness.last()["verdict"] == "skipped" and harness.last()["reason"] == SAID


def test_a_canary_that_passes_waits_for_the_end_of_the_freeze() -> None:
    harness = RolloutHarness(canary=CANARY, **FREE)
    harness.offer()
    freeze(harness)
    harness.live(0, 40, False)
    harness.live(1, 40, True)
    harness.watch.check_all()
    assert harness.promotion.route("m").canary == 1 and harness.last()["verdict"] == "frozen"
    unfreeze(harness)
    harness.watch.check_all()
    assert harness.promotion.route("m").champion == 1


def test_a_canary_that_does_harm_still_ends() -> None:
    harness = RolloutHarness(canary=CANARY, **FREE)
    harness.offer()
    freeze(harness)
    harness.live(0, 60, True)
    harness.live(1, 60, False)
    harness.watch.check_all()
    assert harness.promotion.route("m").canary is None and harness.last()["verdict"] == "rolled_back"


def test_a_holdback_goes_on_past_its_end() -> None:
    harness = RolloutHarness(**PLAIN | {"holdback": {"share": 0.5, "hours": 1}})
    harness.offer()
    assert harness.promotion.route("m").holdback == 0.5
    freeze(harness)
    harness.now += timedelta(hours=2)
    harness.watch.check_all()
    assert harness.promotion.route("m").holdback == 0.5
    unfreeze(harness)
    harness.watch.check_all()
    assert harness.promotion.route("m").holdback == 0


def test_an_approval_does_not_lapse_and_a_person_may_still_approve() -> None:
    harness = RolloutHarness(**PLAIN | {"mode": "approve", "approval_hours": 1})
    harness.offer()
    freeze(harness)
    harness.now += timedelta(hours=2)
    harness.watch.check_all()
    assert harness.state() == "awaiting_approval"
    harness.steps.approve(harness.asked(), "bob", "")
    assert harness.promotion.route("m").champion == 1


def test_a_promotion_by_hand_says_that_it_waived_the_freeze() -> None:
    harness = RolloutHarness(**PLAIN)
    harness.candidate()
    freeze(harness)
    harness.steps.promote_by_hand("m", 1, "bob", "")
    promoted = next(row for row in harness.decisions() if row["verdict"] == Verdict.PROMOTED)
    assert f"limits: {SAID}" in promoted["live"]["waived"]


def test_a_freeze_begins_once_and_ends_once() -> None:
    harness = RolloutHarness(**PLAIN)
    with pytest.raises(NotReady, match="m is not frozen"):
        unfreeze(harness)
    freeze(harness)
    with pytest.raises(AlreadyDone, match="m is frozen already"):
        freeze(harness)
    with pytest.raises(NotFound):
        frozen_models.freeze(harness.promotion, "nothing", "ann", "")
    assert harness.verdicts() == ["frozen"]


def test_a_freeze_survives_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("store") / "loraloop.duckdb"
    harness = RolloutHarness(path, **PLAIN)
    freeze(harness)
    harness.store.close()
    again = RolloutHarness(path, **PLAIN)
    assert again.steps.blocked_by("m") == SAID
    again.store.close()
