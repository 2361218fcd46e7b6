"""Facts about what Prometheus sees of a running canary."""

import json
import math
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from core.db import live_tests
from core.settings import CanarySettings
from eval.gates.live_arms import ArmCounts, Plan, difference
from ops.apps.canary_metrics import CanaryMetrics
from rollout import canary_changes
from tests.support.workflow import CANARY, RolloutHarness

Series = dict[tuple[str, str], float]


def scraped(harness: RolloutHarness, models: dict[str, Any] | None = None) -> Series:
    """Each series by its name, without the prefix, and its labels but the model's."""
    registry = CollectorRegistry()
    settings = SimpleNamespace(models=harness.models if models is None else models)
    control: Any = SimpleNamespace(store=harness.store, settings=settings)
    CanaryMetrics(registry).count(control)
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert all(sample.labels.pop("model") == "m" for sample in samples)
    return {(s.name.removeprefix("loraloop_canary_"), ",".join(s.labels.values())): s.value for s in samples}


def numbers_of(harness: RolloutHarness) -> dict[str, Any]:
    (row,) = live_tests.open_canaries(harness.store)
    return json.loads(row["numbers"])


@pytest.fixture
def harness() -> RolloutHarness:
    made = RolloutHarness(canary=CANARY, holdback=None)
    made.offer()
    return made


def test_a_model_without_a_canary_has_no_series() -> None:
    assert scraped(RolloutHarness(canary=CANARY, holdback=None)) == {}


def test_before_its_first_look_a_canary_has_its_plan(harness: RolloutHarness) -> None:
    assert scraped(harness) == {
        ("version", ""): 1,
        ("paused", ""): 0,
        ("started_timestamp_seconds", ""): harness.now.timestamp(),
        ("limit_seconds", ""): 3600,
        ("first_look_users", ""): 30,
        ("planned_users", ""): 200,
        ("harm_evidence_limit", ""): math.log(20),
        ("sample_ratio_p_limit", ""): 0.001,
        ("looks", ""): 0,
    }


def test_the_newest_look_has_the_effect_with_its_bounds_and_each_arm(harness: RolloutHarness) -> None:
    harness.live(0, 20, True, down=5)
    harness.live(1, 10, True, down=5)
    harness.watch.check_all()
    found, numbers = scraped(harness), numbers_of(harness)
    control, canary = ArmCounts(**numbers["control"]), ArmCounts(**numbers["canary"])
    (row,) = live_tests.open_canaries(harness.store)
    plan = Plan(**json.loads(row["plan"])["plan"])
    apart, width = difference(control, canary, plan, CANARY["planned_users"])
    assert found["difference", ""] == pytest.approx(apart) == pytest.approx(-0.5)
    assert found["difference_low", ""] == pytest.approx(float(apart - width))
    assert found["difference_high", ""] == pytest.approx(float(apart + width))
    assert found["difference_low", ""] < found["difference_limit", ""] < 0 < found["difference_high", ""]
    assert found["difference_limit", ""] == pytest.approx(-2 * control.rate_mean * CanarySettings().margin)
    assert found["harm_evidence", "harm"] <= 0 < found["harm_evidence_limit", ""]
    assert (found["users", "champion"], found["users", "canary"]) == (20, 10)
    assert (found["score", "champion"], found["score", "canary"]) == (0.5, 0)
    assert (found["rated_ratio", "canary"], found["harmed_users", "canary"], found["looks", ""]) == (1, 0, 1)
    assert found["looked_timestamp_seconds", ""] == harness.now.timestamp()
    assert 0 < found["sample_ratio_p", ""] < 1


def test_a_scrape_reads_no_looks_and_their_number_adds_no_series(harness: RolloutHarness) -> None:
    for users in (20, 25):
        harness.live(0, users, True)
        harness.live(1, users, True)
        harness.now += timedelta(minutes=2)
        harness.watch.check_all()
    before = scraped(harness)
    harness.store._connection.execute("DELETE FROM canary_looks")
    assert scraped(harness) == before and before["looks", ""] == 2 and len(before) < 40


def test_a_restarted_canary_has_the_numbers_of_its_new_count(harness: RolloutHarness) -> None:
    harness.live(0, 20, True)
    harness.watch.check_all()
    canary_changes.pause(harness.promotion, "m", "ann", "An outage.")
    assert scraped(harness)["paused", ""] == 1
    canary_changes.resume(harness.promotion, "m", harness.models["m"], "ann", "")
    found = scraped(harness)
    assert ("users", "champion") not in found and found["harm_evidence_limit", ""] == pytest.approx(math.log(40))


def test_a_canary_of_a_model_that_left_the_settings_is_still_shown(harness: RolloutHarness) -> None:
    assert scraped(harness, {})["version", ""] == 1


def test_the_anchor_is_a_third_arm(harness: RolloutHarness) -> None:
    harness.live(0, 20, True)
    harness.watch.check_all()
    (row,) = live_tests.open_canaries(harness.store)
    numbers = numbers_of(harness) | {"anchor_arm": numbers_of(harness)["control"] | {"users": 7}}
    with harness.store.transaction() as transaction:
        live_tests.add_look(
            transaction,
            run_id=row["run_id"],
            look=2,
            time=harness.now,
            started=row["started"],
            verdict="wait",
            reason="So far.",
            body=json.dumps(numbers),
        )
    assert scraped(harness)["users", "anchor"] == 7


def test_numbers_that_cannot_be_read_cost_no_other_metric(harness: RolloutHarness) -> None:
    harness.live(0, 20, True)
    harness.watch.check_all()
    harness.store._connection.execute("UPDATE canaries SET numbers = '{}'")
    assert scraped(harness)["version", ""] == 1


def test_an_analysis_of_a_count_that_began_again_is_not_the_canarys(harness: RolloutHarness) -> None:
    harness.live(0, 20, True)
    harness.watch.check_all()
    (row,) = live_tests.open_canaries(harness.store)
    live_tests.restart_canary(
        harness.store,
        model=row["model"],
        share=0.2,
        started=harness.now + timedelta(seconds=1),
        score_sd=0.5,
        plan=row["plan"],
    )
    with harness.store.transaction() as transaction:
        live_tests.add_look(
            transaction,
            run_id=row["run_id"],
            look=row["looks"] + 1,
            time=harness.now,
            started=row["started"],
            verdict="wait",
            reason="So far.",
            body=row["numbers"],
        )
    (again,) = live_tests.open_canaries(harness.store)
    assert (again["numbers"], again["looked"], again["looks"]) == (None, None, row["looks"] + 1)
