"""Tests that stay valid however often one looks.

It owns the formulas, each with its source; it must not know canaries, users or settings. Every one takes numbers
or arrays of them that broadcast, so that the gate and the benchmark of thousands of canaries run the same code.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.special import betaincc, betaln

Numbers = npt.ArrayLike
Found = npt.NDArray[np.float64]


def tuning(alpha: float, planned: Numbers, score_variance: Numbers, share: float) -> Found:
    """ρ² that makes the confidence sequence narrowest at `planned` users in both arms.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
    confidence sequences", 2021, appendix on tuning, with V0 = s²/(π(1−π)) for two arms. Any positive ρ² is valid;
    the formula's is none for levels near a half.
    """
    variance = np.asarray(score_variance, dtype=np.float64) / (share * (1 - share))
    inner = max(-2 * math.log(2 * alpha) + math.log(-2 * math.log(2 * alpha)) + 1, 0.5)
    return np.asarray(inner / (np.asarray(planned, dtype=np.float64) * variance))


def margin(alpha: float, rho2: Numbers, n: Numbers, standard_error: Numbers) -> Found:
    """Half-width of the one-sided asymptotic confidence sequence after n users in both arms.

    Same source: m = sqrt((N·V·ρ² + 1)/(N²·ρ²) · 2·ln(1 + sqrt(N·V·ρ² + 1)/(2α))) with V = N·SE².
    """
    n, rho2 = np.asarray(n, dtype=np.float64), np.asarray(rho2, dtype=np.float64)
    spread = n * (n * np.square(standard_error)) * rho2 + 1
    return np.sqrt(spread / (n**2 * rho2) * 2 * np.log(1 + np.sqrt(spread) / (2 * alpha)))


def users_to_show(alpha: float, variance: Numbers, share: float, distance: Numbers) -> Found:
    """Users in both arms after which a sequence tuned for that number is as narrow as `distance`.

    There N·V·ρ² is the same number for any variance, so that the half-width is a fixed number of standard errors.
    """
    errors = margin(alpha, tuning(alpha, 1, share * (1 - share), share), 1, 1)
    return np.square(errors / np.asarray(distance)) * np.asarray(variance) / (share * (1 - share))


def harm_evidence(canary: Numbers, control: Numbers, share: float, ratio: float) -> Found:
    """ln of the e-value against "the canary harms at most `ratio` times as many users as control".

    `canary` and `control` count users with a first harm, `share` is the canary's share of users. Given
    a + b harms, a is binomial; the e-value mixes over success rates above π′ = rπ/(rπ + 1 − π) with a
    uniform prior (the one-sided version of Lindon and Malek, "Anytime-valid inference for multinomial
    count data", 2022). Harm is shown when it reaches ln(1/α).
    """
    a, b = np.asarray(canary, dtype=np.float64), np.asarray(control, dtype=np.float64)
    bound = ratio * share / (ratio * share + 1 - share)
    with np.errstate(divide="ignore"):
        tail = np.log(betaincc(a + 1, b + 1, bound))
    return betaln(a + 1, b + 1) + tail - math.log(1 - bound) - a * math.log(bound) - b * math.log(1 - bound)


def sample_ratio_p(canary: Numbers, control: Numbers, share: float, concentration: float = 100.0) -> Found:
    """Anytime-valid p-value of "users fall on the canary with probability `share`".

    Dirichlet-multinomial mixture around the planned shares (Lindon and Malek, 2022): the p-value is one
    over the Bayes factor.
    """
    canary, control = np.asarray(canary, dtype=np.float64), np.asarray(control, dtype=np.float64)
    a, b = concentration * share, concentration * (1 - share)
    factor = betaln(a + canary, b + control) - betaln(a, b) - canary * math.log(share) - control * math.log(1 - share)
    return np.exp(-np.maximum(factor, 0.0))
