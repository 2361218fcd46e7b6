"""Facts about the sequential formulas, against `ville`, which others wrote, and against what they are made of."""

import math

import numpy as np
import pytest
import ville
from scipy import stats
from ville._boundaries import best_rho, normal_mixture

from eval.gates.sequential import harm_evidence, margin, sample_ratio_p, tuning


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("n", [60, 400, 2000, 50_000])
def test_the_margin_is_the_one_sided_normal_mixtures_boundary(alpha: float, n: int):
    """ville solves the half-normal mixture numerically; the closed form of Waudby-Smith et al. is a little wider.

    There ρ² is the variance over n of the mixing rates' inverse: `ville`'s rho is 1/ρ² in the units of n·V.
    """
    deviation, share = 0.4, 0.3
    variance = deviation**2 / (share * (1 - share))
    rho2 = float(tuning(alpha, 2000, deviation**2, share))
    exact = float(normal_mixture(n * variance, alpha, 1 / rho2, one_sided=True)) / n
    ours = float(margin(alpha, rho2, n, math.sqrt(variance / n)))
    assert exact <= ours <= 1.12 * exact


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_the_tuning_is_the_best_up_to_a_hundredth_of_the_width(alpha: float):
    """The paper's ρ² approximates the minimum that `ville` searches for."""
    variance, planned = 0.25 / 0.25, 2000
    ours = float(tuning(alpha, planned, 0.25, 0.5))
    least = float(normal_mixture(planned * variance, alpha, best_rho(planned * variance, alpha, one_sided=True), True))
    found = float(normal_mixture(planned * variance, alpha, 1 / ours, one_sided=True))
    assert least <= found * (1 + 1e-9) and found <= 1.01 * least


@pytest.mark.parametrize(("share", "truth"), [(0.5, 0.5), (0.1, 0.1), (0.9, 0.8), (0.3, 0.36)])
def test_the_sample_ratio_test_is_the_beta_binomial_test_around_the_planned_share(share: float, truth: float):
    """With two arms the Dirichlet-multinomial mixture is `ville.BernoulliTest` with a prior of a hundred users.

    Its p-values are running minima, ours is of the look alone.
    """
    users = (np.random.default_rng(8).random(3000) < truth).astype(float)
    test = ville.BernoulliTest(share, prior=(100 * share, 100 * (1 - share))).fit(users)
    canary = np.cumsum(users)
    ours = sample_ratio_p(canary, np.arange(1, 3001) - canary, share)
    assert ours == pytest.approx(np.minimum(1, np.exp(-test.log_e_values_)), rel=1e-9)
    assert np.minimum.accumulate(ours) == pytest.approx(test.p_values_, rel=1e-9)


@pytest.mark.parametrize(("share", "ratio"), [(0.5, 1.0), (0.1, 1.5), (0.9, 1.5), (0.3, 3.0)])
def test_the_harm_evidence_is_the_beta_binomial_test_of_rates_above_the_tolerated_alone(share: float, ratio: float):
    """A uniform prior over all rates, as `ville` has it, given that the rate is above π′: Bayes' rule, both ways."""
    bound = ratio * share / (ratio * share + 1 - share)
    harms = (np.random.default_rng(9).random(400) < min(0.95, bound * 1.3)).astype(float)
    a = np.cumsum(harms)
    b = np.arange(1, 401) - a
    everywhere = ville.BernoulliTest(bound, prior=(1, 1)).fit(harms).log_e_values_
    above = stats.beta.logsf(bound, a + 1, b + 1) - math.log(1 - bound)
    assert harm_evidence(a, b, share, ratio) == pytest.approx(everywhere + above, abs=1e-8)


@pytest.mark.parametrize(("share", "ratio", "alpha"), [(0.5, 1.5, 0.05), (0.9, 1.5, 0.05), (0.1, 1.0, 0.2)])
def test_the_chance_ever_to_see_harm_at_the_tolerated_ratio_is_within_the_level(
    share: float, ratio: float, alpha: float
):
    """No draws: the law of the counts is carried forward event by event, and what fires is taken out."""
    bound = ratio * share / (ratio * share + 1 - share)
    law, fired = np.array([1.0]), 0.0  # of a, given a + b events
    for events in range(1, 1201):
        law = np.append(law * (1 - bound), 0.0) + np.append(0.0, law * bound)
        a = np.arange(events + 1)
        out = harm_evidence(a, events - a, share, ratio) >= math.log(1 / alpha)
        fired += float(law[out].sum())
        law[out] = 0.0
    assert alpha / 20 < fired <= alpha


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_chance_ever_to_call_a_fair_split_broken_is_within_a_thousandth(share: float):
    law, fired = np.array([1.0]), 0.0
    for users in range(1, 2501):
        law = np.append(law * (1 - share), 0.0) + np.append(0.0, law * share)
        a = np.arange(users + 1)
        out = sample_ratio_p(a, users - a, share) < 0.001
        fired += float(law[out].sum())
        law[out] = 0.0
    assert 0 < fired <= 0.001
