"""Tests that stay valid however often one looks.

It owns the formulas, each with its source; it must not know canaries, users or settings.
"""

import math

from scipy.special import betainc, betaln


def tuning(alpha: float, planned: int, score_variance: float, share: float) -> float:
    """ρ² that makes the confidence sequence narrowest at `planned` users in both arms.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
    confidence sequences", 2021, appendix on tuning, with V0 = s²/(π(1−π)) for two arms.
    """
    variance = score_variance / (share * (1 - share))
    inner = -2 * math.log(2 * alpha) + math.log(-2 * math.log(2 * alpha)) + 1
    return inner / (planned * variance)


def margin(alpha: float, rho2: float, n: int, standard_error: float) -> float:
    """Half-width of the one-sided asymptotic confidence sequence after n users in both arms.

    Same source: m = sqrt((N·V·ρ² + 1)/(N²·ρ²) · 2·ln(1 + sqrt(N·V·ρ² + 1)/(2α))) with V = N·SE².
    """
    spread = n * (n * standard_error**2) * rho2 + 1
    return math.sqrt(spread / (n**2 * rho2) * 2 * math.log(1 + math.sqrt(spread) / (2 * alpha)))


def harm_evidence(canary: int, control: int, share: float, ratio: float) -> float:
    """ln of the e-value against "the canary harms at most `ratio` times as many users as control".

    `canary` and `control` count users with a first harm, `share` is the canary's share of users. Given
    a + b harms, a is binomial; the e-value mixes over success rates above π′ = rπ/(rπ + 1 − π) with a
    uniform prior (the one-sided version of Lindon and Malek, "Anytime-valid inference for multinomial
    count data", 2022). Harm is shown when it reaches ln(1/α).
    """
    a, b = canary, control
    bound = ratio * share / (ratio * share + 1 - share)
    tail = 1 - betainc(a + 1, b + 1, bound)
    if tail <= 0:
        return -math.inf
    return float(
        betaln(a + 1, b + 1) + math.log(tail) - math.log(1 - bound) - a * math.log(bound) - b * math.log(1 - bound)
    )


def sample_ratio_p(canary: int, control: int, share: float, concentration: float = 100.0) -> float:
    """Anytime-valid p-value of "users fall on the canary with probability `share`".

    Dirichlet-multinomial mixture around the planned shares (Lindon and Malek, 2022): the p-value is one
    over the Bayes factor.
    """
    a, b = concentration * share, concentration * (1 - share)
    factor = betaln(a + canary, b + control) - betaln(a, b) - canary * math.log(share) - control * math.log(1 - share)
    return min(1.0, math.exp(-factor))
