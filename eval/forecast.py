"""The forecast: how many requests and days a canary will likely need, said before it starts.

It owns one pure function from traffic to numbers and a sentence; it must not decide anything by them.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from core.settings import CanarySettings
from eval.sequential import margin, tuning

# Users that a forecast looks ahead to, at most.
MOST_USERS = 10**7
# How surely the canary has ended by then, if the candidate is as good as the champion (or, when it must be
# better, better by the margin).
POWER = 0.8


@dataclass(frozen=True, slots=True)
class Traffic:
    """A model's traffic of late: users and requests a day, rated requests of all, deviation of users' mean scores."""

    users_a_day: float
    requests_a_day: float
    feedback_rate: float
    score_sd: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the canary is likely to need; None where today's traffic does not lead there."""

    users: int | None
    requests: int | None
    days: float | None
    sentence: str


def forecast(traffic: Traffic, settings: CanarySettings, alpha: float = 0.05) -> Forecast:
    """Users in both arms until the confidence sequence excludes the line, as requests and days of today's traffic.

    The line is the margin scaled by the feedback rate (see docs/gates.md). Users of a day are counted as new
    ones: where the same users come back, it takes longer.
    """
    gap = 2 * traffic.feedback_rate * settings.margin
    users = _users_until(gap, traffic.score_sd, settings, alpha) if gap > 0 else None
    if users is None or traffic.users_a_day <= 0:
        why = "there is no feedback yet" if gap <= 0 else "there is too little of either"
        return Forecast(
            users, None, None, f"At today's traffic and feedback rate it is likely to reach no answer: {why}."
        )
    days = max(users / traffic.users_a_day, settings.min_minutes / 1440)
    requests = round(days * traffic.requests_a_day)
    limit = settings.max_hours / 24
    late = f", longer than its limit of {limit:.1f} days" if days > limit else ""
    said = (
        f"At today's {traffic.requests_a_day:.0f} requests a day, {traffic.feedback_rate:.1%} of them rated, it is "
        f"likely to need {requests} requests of {users} users, {days:.1f} days{late}."
    )
    return Forecast(users, requests, round(days, 2), said)


def _users_until(gap: float, sd: float, settings: CanarySettings, alpha: float) -> int | None:
    """The fewest users in both arms at which the half-width, with chance allowed for, is below the gap."""
    share = settings.share
    rho2 = tuning(alpha, settings.planned_users, sd**2, share)
    least = math.ceil(settings.first_look_users / min(share, 1 - share))

    def enough(users: int) -> bool:
        error = sd / math.sqrt(users * share * (1 - share))
        return margin(alpha, rho2, users, error) + NormalDist().inv_cdf(POWER) * error < gap

    low, high = least, MOST_USERS
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
