"""Facts about the sequential formulas, each against a derivation of its own."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from eval.gates.sequential import harm_evidence, margin, sample_ratio_p, tuning, users_to_show


@pytest.mark.parametrize("n", [100, 400, 2000, 20_000])
@pytest.mark.parametrize("deviation", [0.1, 0.5, 0.92])
def test_at_the_margin_the_mixture_martingale_has_reached_one_over_alpha(n: int, deviation: float):
    """The martingale mixes exp(λS − λ²V/2) over half-normal λ > 0; the closed form may be a little wider."""
    alpha, rho2 = 0.05, float(tuning(0.05, 2000, deviation**2, 0.5))
    error = 2 * deviation / math.sqrt(n)
    total, variance = n * float(margin(alpha, rho2, n, error)), n * n * error**2

    def density(rate: float) -> float:
        mixed = stats.norm.pdf(rate, scale=math.sqrt(rho2))
        return float(2 * mixed) * math.exp(rate * total - rate**2 * variance / 2)

    peak = total / variance
    mixed, _ = integrate.quad(density, 0, 12 * peak, points=[peak], limit=400)
    assert 1 / alpha <= mixed <= 1.4 / alpha


def test_the_sequence_is_narrowest_about_where_it_is_tuned():
    widths = [float(margin(0.05, tuning(0.05, planned, 0.25, 0.5), 2000, 0.02)) for planned in (200, 2000, 20_000)]
    assert min(widths) == widths[1]


def test_users_to_show_are_as_many_as_close_the_sequence():
    users = float(users_to_show(0.05, 0.16, 0.1, 0.02))
    width = margin(0.05, tuning(0.05, users, 0.16, 0.1), users, math.sqrt(0.16 / (users * 0.1 * 0.9)))
    assert float(width) == pytest.approx(0.02)


def test_arrays_are_judged_as_their_elements_are():
    rng = np.random.default_rng(1)
    n, error = rng.integers(10, 10_000, 50), rng.random(50)
    assert margin(0.05, 0.01, n, error) == pytest.approx(
        [float(margin(0.05, 0.01, int(a), float(b))) for a, b in zip(n, error, strict=True)]
    )
    a, b = rng.integers(0, 80, (2, 50))
    for formula, more in ((harm_evidence, (1.5,)), (sample_ratio_p, ())):
        one_by_one = [float(formula(int(x), int(y), 0.3, *more)) for x, y in zip(a, b, strict=True)]
        assert formula(a, b, 0.3, *more) == pytest.approx(one_by_one)


def test_harm_beyond_all_doubt_and_none_at_all_are_numbers_or_minus_infinity():
    assert float(harm_evidence(5000, 0, 0.1, 1.5)) > 1000
    assert float(harm_evidence(0, 100_000, 0.9, 1.0)) == -math.inf
    assert float(harm_evidence(0, 0, 0.5, 1.5)) == pytest.approx(0)


def test_the_harm_test_holds_at_every_event():
    """The worst case that is tolerated: every harm falls on the canary with chance π′."""
    rng, share, ratio, alpha = np.random.default_rng(2), 0.3, 1.5, 0.05
    bound = ratio * share / (ratio * share + 1 - share)
    on_canary = np.cumsum(rng.random((4000, 400)) < bound, axis=1)
    events = np.arange(1, 401)
    fired = (harm_evidence(on_canary, events - on_canary, share, ratio) >= math.log(1 / alpha)).any(1)
    assert fired.mean() <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 4000)


def test_the_sample_ratio_test_holds_at_every_user():
    rng = np.random.default_rng(4)
    canary = np.cumsum(rng.random((2000, 1000)) < 0.1, axis=1)
    p = sample_ratio_p(canary, np.arange(1, 1001) - canary, 0.1)
    assert (p < 0.01).any(1).mean() <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 2000)
