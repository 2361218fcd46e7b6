"""Facts about intervals of proportions and the items that a suite needs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm, t
from statsmodels.stats.power import NormalIndPower, normal_power_het
from statsmodels.stats.proportion import proportion_confint

from eval.kpis.intervals import (
    expanded_tail,
    paired_items,
    quantile,
    resolvable_difference,
    resolvable_mean,
    tango,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (8, 10), (10, 10), (350, 500)])
def test_wilson_is_what_statsmodels_has(hits: int, n: int):
    expected = proportion_confint(hits, n, alpha=0.05, method="wilson")
    assert wilson(hits, n, 0.025) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("won", "lost", "n"), [(9, 4, 50), (40, 35, 500), (0, 3, 40), (1, 0, 500)])
def test_tangos_bounds_are_where_the_score_test_turns(won: int, lost: int, n: int):
    for bound in tango(won, lost, n, 0.05):
        assert abs(restricted_score(won, lost, n, bound)) == pytest.approx(norm.isf(0.05), rel=1e-3)


def restricted_score(won: int, lost: int, n: int, delta: float) -> float:
    """The score statistic, its nuisance rate found by maximising the likelihood numerically."""

    def against(q: float) -> float:
        terms = [(won, q + delta), (lost, q), (n - won - lost, 1 - 2 * q - delta)]
        return -sum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = minimize_scalar(against, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (won - lost - n * delta) / math.sqrt(n * (2 * q + delta - delta**2))


def test_tango_covers_as_it_says():
    rng = np.random.default_rng(3)
    won, lost, _ = rng.multinomial(300, [0.075, 0.075, 0.85], 2000).T
    cases, counts = np.unique(np.stack([won, lost], 1), axis=0, return_counts=True)
    missed = sum(count for (a, b), count in zip(cases, counts, strict=True) if tango(int(a), int(b), 300)[0] > 0)
    assert missed / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_no_discordant_item_is_not_certainty():
    low, high = tango(0, 0, 500)
    assert -0.01 < low < 0 < high < 0.01


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_tango_holds_the_difference_and_stays_in_range(won: int, lost: int, rest: int):
    n = won + lost + rest
    low, high = tango(won, lost, n)
    if n == 0:
        assert math.isnan(low) and math.isnan(high)
    else:
        assert -1 <= low <= (won - lost) / n + 1e-9
        assert (won - lost) / n - 1e-9 <= high <= 1


@pytest.mark.parametrize(("difference", "few", "many"), [(0.02, 2316, 3862), (0.05, 369, 616), (0.10, 91, 152)])
def test_the_table_of_paired_items(difference: float, few: int, many: int):
    """Published rounded down; items are whole, so one more may be needed."""
    assert paired_items(difference, 0.15) - few in (0, 1)
    assert paired_items(difference, 0.25) - many in (0, 1)


@pytest.mark.parametrize("discordance", [0.05, 0.15, 0.25, 0.5])
@pytest.mark.parametrize("n", [200, 500, 3000])
def test_what_n_items_resolve_needs_n_items(n: int, discordance: float):
    assert paired_items(resolvable_difference(n, discordance), discordance) == pytest.approx(n, abs=1)


def test_the_power_is_as_said():
    rng = np.random.default_rng(5)
    n, d = paired_items(0.05, 0.15), 0.05
    won, lost, _ = rng.multinomial(n, [0.1, 0.05, 0.85], 4000).T
    deviation = np.sqrt((won + lost) / n - ((won - lost) / n) ** 2)
    shown = (won - lost) / n - norm.isf(0.05) * deviation / math.sqrt(n) > 0
    assert shown.mean() == pytest.approx(0.8, abs=0.03)
    assert d == 0.05


@pytest.mark.parametrize("n", [40, 500])
def test_what_a_mean_resolves_is_what_statsmodels_has(n: int):
    found = resolvable_mean(0.4, n, 0.05, 0.8)
    power = NormalIndPower().power(found / 0.4, n, 0.05, ratio=0, alternative="larger")
    assert power == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize(("difference", "discordance"), [(0.02, 0.15), (0.05, 0.25), (0.10, 0.15)])
def test_paired_items_have_the_power_that_statsmodels_gives_the_two_variances(difference: float, discordance: float):
    """Connor's n: the variance is the discordance without a difference, and less the difference's square with it."""
    n = paired_items(difference, discordance)
    power = normal_power_het(
        difference,
        n,
        0.05,
        std_null=math.sqrt(discordance),
        std_alternative=math.sqrt(discordance - difference**2),
        alternative="larger",
    )
    assert 0.8 <= power < 0.8 + 1 / n


def test_no_items_resolve_nothing():
    assert resolvable_difference(0, 0.15) == math.inf
    assert resolvable_mean(1.0, 0) == math.inf
    assert resolvable_difference(3, 0.5) > 0.5


@pytest.mark.parametrize(("difference", "discordance"), [(0.0, 0.1), (0.2, 0.1), (math.nan, 0.1), (0.1, 1.5)])
def test_impossible_differences_are_refused(difference: float, discordance: float):
    with pytest.raises(ValueError, match="paired difference"):
        paired_items(difference, discordance)


def test_expanded_tails_are_those_of_hesterberg():
    """α′ for one-sided 2.5 %, from the t distribution of scipy, and back to α where there are many."""
    for n in (5, 10, 20, 40):
        expected = norm.cdf(-math.sqrt(n / (n - 1)) * t.isf(0.025, n - 1))
        assert expanded_tail(0.025, n) == pytest.approx(expected, rel=1e-9)
    assert expanded_tail(0.025, 10**6) == pytest.approx(0.025, rel=1e-4)
    assert math.isnan(expanded_tail(0.025, 1))


@pytest.mark.parametrize("n", [16, 71, 72, 200])
def test_bounds_of_a_quantile_are_order_statistics_that_cover(n: int):
    low, high = quantile(np.arange(1.0, n + 1)[::-1], 0.95)
    assert math.isnan(high) is (n < 72)
    assert binom.cdf(int(low) - 1, n, 0.95) <= 0.025 < binom.cdf(int(low), n, 0.95)
    if n >= 72:
        assert binom.sf(int(high) - 1, n, 0.95) <= 0.025 < binom.sf(int(high) - 2, n, 0.95)
    rng = np.random.default_rng(2)
    found = [quantile(rng.exponential(size=n), 0.95) for _ in range(1000)]
    at = -math.log(0.05)
    error = 3 * math.sqrt(0.025 * 0.975 / 1000)
    assert np.mean([low > at for low, _ in found]) <= 0.025 + error
    assert np.mean([high < at for _, high in found]) <= 0.025 + error
