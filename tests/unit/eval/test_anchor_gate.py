"""Facts about the comparison of a candidate with the anchor: it can only hold a promotion up."""

import math
from dataclasses import replace

import pytest

from core.settings import CanarySettings
from eval.gates.anchor import AnchorArm, anchor_share, better_than_anchor, look_at_all, shares_compared
from eval.gates.live_arms import ArmCounts, Plan
from eval.gates.result import Outcome

SETTINGS = CanarySettings(share=1 / 3, min_minutes=0, max_hours=24)
PLAN = Plan(0.5, 0.6, rate_mean=1.0, rate_sd=0.05)
SAME = ArmCounts(2000, 2000, 0.4, 0.6, 1.0, 0.0, 0)


def scored(points: float) -> ArmCounts:
    """An arm whose approval is this many points above the others'."""
    return replace(SAME, score_mean=SAME.score_mean + points / 50)


def against(anchor: ArmCounts, *, control: ArmCounts = SAME, minutes: float = 60):
    return look_at_all(control, SAME, PLAN, SETTINGS, minutes=minutes, anchor=AnchorArm("m@3", anchor, PLAN))


@pytest.mark.parametrize(
    ("anchor", "minutes", "outcome", "says"),
    [
        (scored(0), 60, Outcome.PASS, "Not worse than the champion"),
        (scored(0), 60, Outcome.PASS, "Not worse than the anchor m@3: approval differs by +0.0 points (lower bound -"),
        (scored(3.5), 60, Outcome.WAIT, "Not yet shown: not worse than the anchor m@3: approval differs by -3.5"),
        (scored(6), 60, Outcome.WAIT, "limit -5.0), 2000 canary and 2000 anchor users"),
        (scored(6), 24 * 60, Outcome.INCONCLUSIVE, "No answer within 24 h: Not yet shown: not worse than the anchor"),
        (scored(0), 24 * 60, Outcome.PASS, "Not worse than the anchor"),
        (replace(SAME, users=99), 60, Outcome.INCONCLUSIVE, "the planned share is 0.5 (p = 0.0000)"),
        (replace(SAME, score_mean=math.nan), 60, Outcome.INCONCLUSIVE, "anchor m@3 are not numbers"),
        (replace(SAME, rate_mean=0.8, rate_sd=0.4, score_mean=0.32), 60, Outcome.WAIT, "the same share of votes"),
    ],
)
def test_a_promotion_waits_for_the_anchor(anchor: ArmCounts, minutes: float, outcome: Outcome, says: str):
    found, _ = against(anchor, minutes=minutes)
    assert found.judgement.outcome is outcome
    assert says in found.judgement.reason


def test_the_first_look_needs_users_of_the_anchor_too():
    small = replace(SAME, users=80)
    arm = AnchorArm("m@3", small, replace(PLAN, share=0.96))
    found, _ = look_at_all(SAME, SAME, PLAN, SETTINGS, minutes=60, anchor=arm)
    assert found.judgement.outcome is Outcome.WAIT and "80 of the 100 users" in found.judgement.reason


@pytest.mark.parametrize("points", [-30.0, 0.0, 30.0])
def test_what_the_champion_decides_is_decided_whatever_the_anchor(points: float):
    """A candidate worse than the champion is rolled back, and the anchor never makes a promotion out of a wait."""
    worse, _ = against(scored(points), control=scored(20))
    assert worse.judgement.outcome is Outcome.FAIL and "Worse than the champion" in worse.judgement.reason
    undecided, _ = against(scored(points), control=scored(2.5))
    assert undecided.judgement.outcome is Outcome.WAIT and "the champion" in undecided.judgement.reason


def test_the_anchor_check_has_the_numbers():
    found, anchor = against(scored(0))
    check = found.judgement.checks[-1]
    assert (check.name, check.kind, check.outcome) == ("not worse than the anchor", "anchor", Outcome.PASS)
    assert check.value == anchor.difference == pytest.approx(0)
    assert check.bound == pytest.approx(anchor.lower) and check.threshold == pytest.approx(-0.1)
    assert -0.1 < anchor.lower < 0


@pytest.mark.parametrize(("points", "better"), [(0, False), (2, False), (10, True)])
def test_better_than_the_anchor_is_what_strict_would_promote(points: float, better: bool):
    strict = SETTINGS.model_copy(update={"strict": True})
    alone, found = look_at_all(SAME, scored(points), PLAN, SETTINGS, minutes=60)
    by_strict, _ = look_at_all(SAME, scored(points), PLAN, strict, minutes=60)
    assert alone.judgement.outcome is Outcome.PASS
    assert found.is_better is better is (by_strict.judgement.outcome is Outcome.PASS)
    assert found.difference == alone.difference


def test_more_votes_are_no_proof_that_it_is_better():
    eager = replace(SAME, score_mean=0.6, score_sd=0.7, rate_mean=1.0)
    quiet = replace(SAME, score_mean=0.2, score_sd=0.5, rate_mean=0.6, rate_sd=0.4)
    assert not better_than_anchor(quiet, replace(eager, score_mean=0.34), PLAN, SETTINGS)
    assert better_than_anchor(quiet, replace(quiet, score_mean=0.4), PLAN, SETTINGS)


@pytest.mark.parametrize(
    ("share", "anchor", "to_champion", "to_anchor"),
    [(0.1, 0.1, 1 / 9, 0.5), (1 / 3, 1 / 3, 0.5, 0.5), (0.5, 0.25, 2 / 3, 2 / 3)],
)
def test_the_anchor_gets_as_many_users_as_the_candidate_and_the_champion_no_fewer(
    share: float, anchor: float, to_champion: float, to_anchor: float
):
    assert anchor_share(share) == pytest.approx(anchor) and anchor <= 1 - share - anchor + 1e-12
    assert shares_compared(share) == pytest.approx((to_champion, to_anchor))
