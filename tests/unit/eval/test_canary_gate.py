"""Facts about the canary gate and its formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from core.settings import CanarySettings
from eval.gates.canary import look, signals
from eval.gates.live_arms import ArmCounts, Plan
from eval.gates.result import Outcome
from eval.gates.sequential import harm_evidence, margin, sample_ratio_p, tuning

SETTINGS = CanarySettings(share=0.5, first_look_users=30, planned_users=200, min_minutes=0, max_hours=1)
PLAN = Plan(share=0.5, score_sd=0.4)
CONTROL = ArmCounts(200, 2000, 0.2, 0.4, 0.9, 0.01, 0)


def outcome(
    canary: ArmCounts, control: ArmCounts = CONTROL, minutes: float = 5, settings: CanarySettings = SETTINGS
) -> tuple[Outcome, str]:
    judgement = look(control, canary, PLAN, settings, minutes=minutes).judgement
    return judgement.outcome, judgement.reason


def test_a_better_candidate_is_promoted_with_the_bound_that_says_so():
    found, reason = outcome(replace(CONTROL, score_mean=0.6))
    assert found is Outcome.PASS
    assert "lower bound" in reason


def test_a_worse_candidate_is_rolled_back():
    assert outcome(replace(CONTROL, score_mean=-0.3))[0] is Outcome.FAIL


def test_before_the_first_look_nothing_is_decided():
    few = replace(CONTROL, users=29, score_mean=0.9)
    found, reason = outcome(few, replace(CONTROL, users=33))
    assert found is Outcome.WAIT
    assert reason == "29 of the 30 users that the first look needs in each arm."


def test_a_harmed_arm_is_rolled_back_even_before_the_first_look():
    hurt = replace(CONTROL, users=25, score_mean=0.9, harmed=15)
    assert outcome(hurt, replace(CONTROL, users=25))[0] is Outcome.FAIL


@pytest.mark.parametrize(
    ("champion", "canary", "outcome_of_it"),
    [
        (0, 200, Outcome.FAIL),  # an adapter that kept to the labels, and one that answers rubbish
        (0, 2, Outcome.PASS),
        (200, 200, Outcome.PASS),  # a base model that never keeps to them is no worse a measure
        (190, 0, Outcome.PASS),
        (80, 200, Outcome.FAIL),
        (150, 200, Outcome.PASS),  # within the tolerated ratio; what users say of it decides
    ],
)
def test_answers_outside_the_labels_are_harm_compared_with_the_champions(
    champion: int, canary: int, outcome_of_it: Outcome
):
    better = replace(CONTROL, score_mean=0.6, strayed=canary)
    found, reason = outcome(better, replace(CONTROL, strayed=champion))
    assert found is outcome_of_it
    assert found is not Outcome.FAIL or f"{canary} of 200 canary users and" in reason


def test_a_champion_that_never_keeps_to_the_labels_hides_no_errors():
    hurt = replace(CONTROL, score_mean=0.6, strayed=200, harmed=20)
    found, reason = outcome(hurt, replace(CONTROL, strayed=200, harmed=1))
    assert found is Outcome.FAIL and "20 of 200 canary users and" in reason


@pytest.mark.parametrize("known", [{}, {"rate_mean": 0.2, "rate_sd": 0.3, "covariance": 0.05}])
def test_what_the_bounds_are_tuned_for_is_the_plans_and_never_the_data_s(known: dict[str, float]):
    """Control's own rate and deviation may come out as they like: ρ² does not follow. Tests only the tuned part:
    with the same error, the half-width over the error is a function of ρ² and users alone."""
    plan, widths = Plan(0.5, 0.4, **known), []
    for rate in (0.3, 0.6):
        control, canary = (replace(CONTROL, rate_mean=rate, rate_sd=0.2) for _ in range(2))
        found = signals(control, canary, plan, SETTINGS)
        widths.append(float(found.rates_apart))
    assert widths[0] == pytest.approx(widths[1])
    other = signals(CONTROL, CONTROL, replace(plan, rate_mean=0.9, rate_sd=0.05), SETTINGS)
    assert float(other.rates_apart) != pytest.approx(float(signals(CONTROL, CONTROL, plan, SETTINGS).rates_apart))


def test_the_level_is_the_plans():
    found = [
        look(CONTROL, replace(CONTROL, score_mean=0.26), replace(PLAN, alpha=alpha), SETTINGS, minutes=5)
        for alpha in (0.001, 0.05, 0.2, 0.45)
    ]
    widths = [one.half_width for one in found]
    assert widths == sorted(widths, reverse=True) and all(map(math.isfinite, widths))
    hurt = replace(CONTROL, users=25, harmed=8)
    few = replace(CONTROL, users=25, harmed=1)
    said = {
        look(few, hurt, replace(PLAN, alpha=alpha), SETTINGS, minutes=5).judgement.outcome for alpha in (0.4, 0.001)
    }
    assert said == {Outcome.FAIL, Outcome.WAIT}


def test_a_broken_split_halts_the_experiment():
    found, reason = outcome(replace(CONTROL, users=90, score_mean=0.6))
    assert found is Outcome.INCONCLUSIVE
    assert "planned share" in reason


def test_a_candidate_that_only_makes_people_vote_more_is_not_promoted():
    eager = replace(CONTROL, score_mean=0.6, rate_mean=1.0)
    found, reason = outcome(eager, replace(CONTROL, rate_mean=0.6))
    assert found is Outcome.WAIT
    assert "the rates may differ" in reason
    assert outcome(eager, replace(CONTROL, rate_mean=0.6), minutes=61)[0] is Outcome.INCONCLUSIVE


def voting(rate: float, approval: float) -> ArmCounts:
    """20,000 users of one request, a share of whom votes."""
    score = rate * (2 * approval - 1)
    spread = math.sqrt(rate - score**2), math.sqrt(rate * (1 - rate))
    return ArmCounts(20_000, 20_000, score, spread[0], rate, spread[1], 0, covariance=score * (1 - rate))


def test_voting_more_often_alone_makes_no_difference():
    found = look(voting(0.2, 0.7), voting(0.3, 0.7), PLAN, SETTINGS, minutes=5)
    assert found.difference == pytest.approx(0, abs=1e-12)
    assert found.judgement.outcome is Outcome.WAIT


def test_happy_users_who_vote_more_are_not_a_better_candidate():
    happy = voting(0.24, 0.18 / 0.24)  # as many votes down as control, more up
    found = look(voting(0.2, 0.7), happy, PLAN, SETTINGS.model_copy(update={"strict": True}), minutes=5)
    assert found.difference - found.half_width > 0
    assert found.judgement.outcome is Outcome.WAIT
    assert "the rates may differ" in found.judgement.reason


def test_more_votes_up_and_fewer_down_need_no_equal_rates():
    found = look(voting(0.2, 0.7), voting(0.22, 0.85), PLAN, SETTINGS, minutes=5)
    assert found.judgement.outcome is Outcome.PASS
    assert "each pass alone" in found.judgement.checks[-1].reason


def test_hostile_users_must_not_be_able_to_explain_a_gain():
    better, watchful = voting(1.0, 0.75), SETTINGS.model_copy(update={"strict": True, "hostile_share": 0.06})
    assert look(voting(1.0, 0.7), better, PLAN, SETTINGS, minutes=5).judgement.outcome is Outcome.PASS
    assert look(voting(1.0, 0.7), better, PLAN, watchful, minutes=5).judgement.outcome is Outcome.WAIT


def test_counts_that_are_no_numbers_end_it_inconclusive():
    found, reason = outcome(replace(CONTROL, score_mean=math.nan))
    assert (found, reason) == (Outcome.INCONCLUSIVE, "The counts of an arm are not numbers.")


def test_promotion_waits_for_the_shortest_time():
    settings = SETTINGS.model_copy(update={"min_minutes": 30})
    better = replace(CONTROL, score_mean=0.6)
    assert outcome(better, minutes=10, settings=settings)[0] is Outcome.WAIT
    assert outcome(better, minutes=31, settings=settings)[0] is Outcome.PASS


def test_a_tie_ends_inconclusive_when_strict_and_the_time_is_up():
    strict = SETTINGS.model_copy(update={"strict": True})
    assert outcome(CONTROL, minutes=59, settings=strict)[0] is Outcome.WAIT
    assert outcome(CONTROL, minutes=60, settings=strict)[0] is Outcome.INCONCLUSIVE


def test_nobody_yet_is_no_error():
    nobody = ArmCounts(0, 0, 0.0, 0.0, 0.0, 0.0, 0)
    assert outcome(nobody, nobody)[0] is Outcome.WAIT


def test_the_harm_evidence_is_the_mixture_it_claims_to_be():
    a, b, share, ratio = 7, 3, 0.3, 1.5
    bound = ratio * share / (ratio * share + 1 - share)
    mixed, _ = integrate.quad(lambda p: p**a * (1 - p) ** b, bound, 1)
    expected = math.log(mixed / (1 - bound) / (bound**a * (1 - bound) ** b))
    assert harm_evidence(a, b, share, ratio) == pytest.approx(expected)


def test_the_sample_ratio_test_is_one_over_the_bayes_factor():
    a, b, share, k = 60, 40, 0.5, 100.0
    factor = stats.betabinom.pmf(a, a + b, k * share, k * (1 - share)) / stats.binom.pmf(a, a + b, share)
    assert sample_ratio_p(a, b, share) == pytest.approx(min(1.0, 1 / factor))


def test_the_sequence_holds_at_every_look():
    """2,000 canaries of equal models, with a look after every user: few are ever outside."""
    rng = np.random.default_rng(11)
    users, runs, alpha = 400, 2000, 0.05
    rho2 = tuning(alpha, 400, 0.25, 0.5)
    arms = rng.random((runs, users)) < 0.5
    scores = rng.normal(0, 0.5, (runs, users))
    crossed = np.zeros(runs, dtype=bool)
    for n in range(60, users + 1, 10):
        difference, error = _difference(scores[:, :n], arms[:, :n])
        half = np.array([margin(alpha, rho2, n, e) for e in error])
        crossed |= difference - half > 0
    assert crossed.mean() <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


def _difference(scores: np.ndarray, arms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    def mean_and_error(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = chosen.sum(1)
        mean = (scores * chosen).sum(1) / count
        variance = (((scores - mean[:, None]) ** 2) * chosen).sum(1) / (count - 1)
        return mean, variance / count

    (treated, error_t), (control, error_c) = mean_and_error(arms), mean_and_error(~arms)
    return treated - control, np.sqrt(error_t + error_c)
