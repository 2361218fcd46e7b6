"""Live: what is known of the two arms of a live test, and how far they are apart.

It owns the plan that was written down before the test began, the counts of an arm, and the difference of two arms
with its bound; it must not judge. Everything takes arrays of tests as well as one. Scores are −1, 0 or +1 a request
with no feedback as 0, averaged by user: judging only rated answers would undo the randomisation.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from core.settings import CanarySettings, HoldbackSettings
from eval.gates.sequential import Found, harm_evidence, margin, tuning

LEAST_SAMPLE_RATIO_P = 0.001


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """One arm so far: users, their mean score with its deviation, and how many of their requests they rated.

    `score_mean`, `score_sd` are over users' means; `rate_mean`, `rate_sd` over users' shares of rated requests,
    `covariance` between the two; `harmed` counts users with at least one harm (an error, a flag), `strayed` those with
    at least one answer outside the model's labels; `vote_cap` is the share of rated requests above which nobody's
    votes weigh more. In a benchmark each is an array, one a canary.
    """

    users: int
    requests: int
    score_mean: float
    score_sd: float
    rate_mean: float
    rate_sd: float
    harmed: int
    covariance: float = 0.0
    vote_cap: float = 1.0
    strayed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fixed before the first look: the share of users of the newer version, the level, and what was known of
    users before: the deviation of their scores, their feedback rate with its deviation, and the covariance of the two.

    All of it tunes bounds and none of it makes them invalid. The defaults are the prior where nothing is known; without
    a rate, bounds on rates are tuned for `planned_users`, as the score's is. Their deviation is a small one on purpose:
    tuned for a hundredth of the users that come a bound is a fifth wider, for a hundred times as many, three times.
    """

    share: float
    score_sd: float = 0.5
    alpha: float = 0.05
    rate_mean: float | None = None
    rate_sd: float = 0.15
    covariance: float = 0.0


@dataclass(frozen=True, slots=True)
class Harms:
    """ln of the evidence of each kind of harm, and whether it is shown: each has the whole level, as guardrails do,
    and a champion that rarely keeps to the labels does not hide errors."""

    harm: Found
    strays: Found
    harmed: npt.NDArray[np.bool_]
    strayed: npt.NDArray[np.bool_]


def harms(control: ArmCounts, other: ArmCounts, plan: Plan, settings: CanarySettings | HoldbackSettings) -> Harms:
    """What harm the newer version does compared with control, tolerated up to `harm_ratio` times as many users.

    Fewer than `harm_users` users show no harm: a few people can arrange to be that many.
    """
    harm = harm_evidence(other.harmed, control.harmed, plan.share, settings.harm_ratio)
    strays = harm_evidence(other.strayed, control.strayed, plan.share, settings.harm_ratio)
    bound, least = math.log(1 / plan.alpha), settings.harm_users
    harmed = (harm >= bound) & (np.asarray(other.harmed) >= least)
    return Harms(harm, strays, harmed, (strays >= bound) & (np.asarray(other.strayed) >= least))


def readable(arm: ArmCounts) -> npt.NDArray[np.bool_]:
    """Whether the counts are finite and possible."""
    sane = np.logical_and.reduce([np.isfinite(getattr(arm, field.name)) for field in fields(arm)])
    sane &= (np.abs(arm.score_mean) <= 1) & (np.asarray(arm.rate_mean) >= 0) & (np.asarray(arm.rate_mean) <= 1)
    sane &= np.maximum(arm.harmed, arm.strayed) <= arm.users
    return sane & (np.minimum(arm.score_sd, arm.rate_sd) >= 0)


def difference(control: ArmCounts, other: ArmCounts, plan: Plan, planned_users: int) -> tuple[Found, Found]:
    """The other arm's score above what control's approval makes of that arm's votes, and its half-width.

    Each vote counts from the mean vote m of control, so that voting more often is neither good nor bad: the
    difference is mean_T(s) − m·mean_T(r), which is mean_T(s) − mean_C(s) where both arms vote equally often. Its
    error is the delta method's: m comes from control, whose part is scaled by the ratio of the rates.
    """
    rated = np.asarray(control.rate_mean, dtype=np.float64)
    mean_vote = np.where(rated > 0, control.score_mean / np.where(rated > 0, rated, 1), 0.0)
    ratio = np.where(rated > 0, other.rate_mean / np.where(rated > 0, rated, 1), 1.0)
    error = np.sqrt(
        vote_variance(other, mean_vote) / other.users + ratio**2 * vote_variance(control, mean_vote) / control.users
    )
    rho2 = tuning(plan.alpha, planned_users, plan.score_sd**2, plan.share)
    half_width = margin(plan.alpha, rho2, np.add(control.users, other.users), error)
    enough = np.minimum(control.users, other.users) >= 2
    apart = other.score_mean - mean_vote * np.where(rated > 0, other.rate_mean, 0.0)
    return apart, np.where(enough, half_width, math.inf)


def vote_variance(arm: ArmCounts, mean_vote: Found) -> Found:
    """Variance over users of the score where each vote counts from `mean_vote`."""
    variance = np.square(arm.score_sd) - 2 * mean_vote * arm.covariance + np.square(mean_vote * arm.rate_sd)
    return np.maximum(variance, 0.0)
