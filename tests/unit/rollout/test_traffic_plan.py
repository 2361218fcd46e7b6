"""Facts about planning traffic: the days agree with the gates' own formulas, and each setting's advice is right."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.settings import FeedbackSettings, ModelSettings
from eval.gates.offline import LEAST_USERS, spent_level
from eval.kpis.intervals import paired_items
from ops.cli.app import app
from rollout.forecast import expected_length, independent_votes
from rollout.traffic_plan import Audience, TrafficPlan, plan_traffic

SETTINGS = ModelSettings.model_validate({"labels": ["no", "yes"]})
USUAL = Audience(1000)


def with_canary(**canary: object) -> ModelSettings:
    return ModelSettings.model_validate({"labels": ["no", "yes"], "promotion": {"canary": canary or None}})


def days_of(plan: TrafficPlan) -> dict[str, float]:
    return {step.step: step.days for step in plan.steps}


def test_a_holdout_gets_the_labels_that_resolve_the_gain():
    (offline,) = [step for step in plan_traffic(USUAL, SETTINGS).steps if step.step == "offline gate"]
    labels = paired_items(0.05, 0.15, spent_level(0.05, 1))
    assert offline.count == pytest.approx(labels / 0.075)
    assert offline.days == pytest.approx(labels / 0.075 / 300)


def test_a_large_gain_needs_the_least_number_of_users():
    """One request per user: half as many labellers as labels would need."""
    (offline,) = [
        step for step in plan_traffic(Audience(100, 30, gain=0.4), SETTINGS).steps if step.step == "offline gate"
    ]
    assert offline.unit == "users who label" and offline.count == pytest.approx(LEAST_USERS / 0.075)


def test_a_canary_with_an_anchor_is_the_forecast_of_its_slower_comparison():
    """At the default share, candidate and anchor have a tenth of the users each."""
    canary = SETTINGS.promotion.canary
    assert canary is not None
    days = days_of(plan_traffic(USUAL, SETTINGS))["canary with anchor, equal candidate"]
    alike = canary.model_copy(update={"share": 0.5})
    assert days == pytest.approx(expected_length(independent_votes(200, 3, 0.2, 0.7), alike, spent_level(0.05, 1)).days)
    assert "canary with anchor, equal candidate" not in days_of(plan_traffic(USUAL, with_canary(strict=True)))


def test_the_canary_is_the_forecast_that_the_ledger_gets():
    canary = SETTINGS.promotion.canary
    assert canary is not None
    found = expected_length(independent_votes(1000, 3, 0.2, 0.7), canary)
    assert days_of(plan_traffic(USUAL, SETTINGS))["canary, equal candidate"] == pytest.approx(found.days)


def test_a_better_candidate_needs_fewer_days_and_more_users_per_day_too():
    found = days_of(plan_traffic(USUAL, SETTINGS))
    assert found["canary, better candidate"] < found["canary, equal candidate"]
    assert days_of(plan_traffic(Audience(2000), SETTINGS))["offline gate"] == pytest.approx(found["offline gate"] / 2)


def test_a_strict_canary_never_promotes_an_equal_candidate():
    found = days_of(plan_traffic(USUAL, with_canary(strict=True)))
    assert found["canary, equal candidate"] == math.inf
    assert math.isfinite(found["canary, better candidate"])


def test_the_advice_about_the_share_and_the_time_is_followed_by_a_canary_that_ends():
    advice = plan_traffic(USUAL, SETTINGS).advice
    assert any("canary.share: 0.5" in sentence for sentence in advice)
    (hours,) = [sentence for sentence in advice if sentence.startswith("canary.max_hours")]
    followed = with_canary(share=0.5, max_hours=float(hours.split()[1]))
    better = plan_traffic(USUAL, followed)
    assert next(step for step in better.steps if step.step == "canary, better candidate").ends
    assert better.advice == ()


def test_what_can_never_end_is_said():
    found = plan_traffic(Audience(1000, voted=0, labelled=0), SETTINGS)
    assert all(math.isinf(step.days) and not step.ends for step in found.steps)
    assert [sentence.split(",")[0] for sentence in found.advice] == [
        "Without labels",
        "Without thumbs no canary can end: send thumbs",
    ]
    (sentence,) = plan_traffic(Audience(100_000, voted=0), with_canary()).advice
    assert sentence.startswith("Send thumbs too, or set feedback.audit_share")
    audited = with_canary().model_copy(update={"feedback": FeedbackSettings(audit_share=0.05)})
    assert plan_traffic(Audience(100_000, voted=0), audited).advice == ()


def test_the_command_needs_no_server_and_prints_all_numbers(tmp_path: Path):
    config = tmp_path / "loraloop.yaml"
    config.write_text("models: {reviews: {labels: [bad, good], promotion: {canary: null}}}")
    done = CliRunner().invoke(app, ["plan", "reviews", "--users", "500", "--json", "--config", str(config)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [step["step"] for step in found["steps"]] == ["training", "offline gate"]
    assert found["audience"]["users_per_day"] == 500
    never = CliRunner().invoke(app, ["plan", "--users", "0", "--json"])
    assert [step["days"] for step in json.loads(never.stdout)["steps"]] == [None] * 5
    assert "never" in CliRunner().invoke(app, ["plan", "--users", "0"]).stdout
    wrong = CliRunner().invoke(app, ["plan", "revews", "--users", "5", "--config", str(config)])
    assert wrong.exit_code != 0
