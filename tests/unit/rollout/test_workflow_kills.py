"""Facts about crashes between the steps of a change."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core import ledger
from core.db import live_tests
from core.errors import NotReady
from tests.support.workflow import CANARY, WHY, RolloutHarness

# Crashes.


class Killed(BaseException):
    """Control ends here."""


def promoting(harness: RolloutHarness) -> None:
    harness.offer(1)


def undoing(harness: RolloutHarness) -> None:
    harness.live(0, 60, True)
    harness.live(1, 60, False)
    harness.watch.check_all()


INSIDE = (
    "rollout.change_writer.append",
    "rollout.change_writer.write_route",
    "rollout.change_writer._withdraw_waiting",
)
AFTER = ("rollout.promotion.RouteManager.publish", "rollout.promotion.report_switch")


@pytest.mark.parametrize("point", INSIDE + AFTER)
@pytest.mark.parametrize(("before", "act", "champions"), [(None, promoting, (0, 1)), (promoting, undoing, (1, 0))])
def test_a_kill_between_any_two_steps_leaves_all_of_a_change_or_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    before: Callable[[RolloutHarness], None] | None,
    act: Callable[[RolloutHarness], None],
    champions: tuple[int, int],
):
    held = {"share": 0.5, "first_look_users": 30, "planned_users": 200}
    settings: dict[str, Any] = {"canary": None, "holdback": held}
    harness = RolloutHarness(tmp_path / "store", **settings)
    if before:
        before(harness)

    def end(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(point, end)
        with pytest.raises(Killed):
            act(harness)
    harness.store.close()
    again = RolloutHarness(tmp_path / "store", **settings)
    route = again.promotion.route("m")
    happened = point in AFTER
    assert route.champion == champions[happened]
    assert again.board.table is not None and again.board.table.models["m"].champion.version == route.champion
    # A holdback is in the route exactly while its row is open, and every switch has its event row.
    assert bool(route.holdback) == bool(live_tests.open_holdbacks(again.store))
    assert again.verdicts().count("switched") == sum(v in ("promoted", "rolled_back") for v in again.verdicts())
    assert ledger.verify_store(again.store).ok
    again.promotion.recover()
    assert again.verdicts().count("switched") == sum(v in ("promoted", "rolled_back") for v in again.verdicts())
    if before and not happened:
        again.watch.check_all()  # the next look completes what the kill had undone
        assert again.promotion.route("m").champion == champions[1]
    again.store.close()


@pytest.mark.parametrize("point", [*INSIDE, "rollout.change_writer.set_run_state"])
def test_a_kill_while_a_canary_starts_or_ends_leaves_route_and_run_in_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
):
    harness = RolloutHarness(tmp_path / "store", canary=CANARY)

    def end(*_: Any, **__: Any) -> None:
        raise Killed

    harness.candidate()
    for step in (lambda: harness.steps.passed_offline("m", 1, 0, WHY), harness.watch.check_all):
        route, state = harness.promotion.route("m"), harness.state()
        with monkeypatch.context() as patch:
            patch.setattr(point, end)
            with pytest.raises(Killed):
                step()
        assert (harness.promotion.route("m"), harness.state()) == (route, state)
        step()
        harness.now += timedelta(hours=2)
    assert harness.verdicts() == ["canary_started", "inconclusive"]
    assert harness.promotion.route("m").canary is None and harness.state() == "finished"
    harness.store.close()


def test_one_test_that_cannot_be_acted_on_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch):
    harness = RolloutHarness(canary=CANARY)
    harness.offer()
    harness.now += timedelta(hours=2)
    monkeypatch.setattr(harness.promotion, "end_canary", lambda *_: (_ for _ in ()).throw(NotReady("engines are down")))
    harness.watch.check_all()
    assert harness.verdicts() == ["canary_started"]
    monkeypatch.undo()
    harness.watch.check_all()
    assert harness.verdicts()[-1] == "inconclusive"
