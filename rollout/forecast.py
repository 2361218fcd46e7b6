"""Forecast how long a canary is likely to take, before it starts."""

import math
from dataclasses import dataclass, replace

from core.settings import CanarySettings
from eval.gates.anchor import anchor_share, shares_compared
from eval.gates.sequential import margin, tuning, users_to_show


@dataclass(frozen=True, slots=True)
class Traffic:
    """Traffic of a model: users per day, and means and deviations over users.

    Requests per user, share of rated requests, and score with its covariance to the rate.
    """

    users_per_day: float
    requests_per_user: float
    rate_mean: float
    rate_sd: float
    score_sd: float
    covariance: float = 0.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a canary is likely to need, of both arms; infinite where it can never end in a promotion.

    `binds` says which condition takes the longest.
    """

    users: float
    requests: float
    days: float
    binds: str


def independent_votes(users_per_day: float, requests_per_user: float, voted: float, approval: float) -> Traffic:
    """Return the traffic of users who vote independently of each other, with one approval for all of them.

    `voted` is the share of requests with a thumb, `approval` the share of thumbs that are up.
    """
    mean = 2 * approval - 1
    return Traffic(
        users_per_day,
        requests_per_user,
        rate_mean=voted,
        rate_sd=math.sqrt(voted * (1 - voted) / requests_per_user),
        score_sd=math.sqrt((voted - (mean * voted) ** 2) / requests_per_user),
        covariance=mean * voted * (1 - voted) / requests_per_user,
    )


def expected_length(traffic: Traffic, settings: CanarySettings, alpha: float = 0.05) -> Expected:
    """For a candidate as good as the champion, or, with `strict`, one better by the margin. Chance helps most to
    answer sooner: this is when the sequence's half-width is as narrow as the distance to the line to be cleared.
    """
    smaller = min(settings.share, 1 - settings.share)
    rate = traffic.rate_mean if math.isfinite(traffic.rate_mean) else 0.0
    distance = 2 * rate * settings.margin - 2 * settings.hostile_share
    needs = {
        "the first look": settings.first_look_users / smaller,
        "the users' scores": _users(traffic.score_sd, distance, settings, alpha),
        "the feedback rates": _rates(traffic, rate, distance, settings, alpha),
    }
    binds = max(needs, key=lambda name: needs[name])
    users = needs[binds]
    days = users / traffic.users_per_day if traffic.users_per_day > 0 else math.inf
    least = settings.min_minutes / 1440
    return Expected(users, users * traffic.requests_per_user, max(days, least), binds if days > least else "the clock")


def expected_length_with_anchor(
    traffic: Traffic, settings: CanarySettings, alpha: float, anchor_alpha: float
) -> Expected:
    """The same for a canary that serves the anchor too: each comparison has the users of two of the three arms.

    `anchor_alpha` is the level of the comparison with the anchor.
    """
    anchor = anchor_share(settings.share)
    within, levels = (1 - anchor, settings.share + anchor), (alpha, anchor_alpha)
    found = []
    for share, part, level in zip(shares_compared(settings.share), within, levels, strict=True):
        alone = settings.model_copy(update={"share": share})
        each = expected_length(replace(traffic, users_per_day=traffic.users_per_day * part), alone, level)
        found.append(replace(each, users=each.users / part, requests=each.requests / part))
    return max(found, key=lambda each: each.days)


def _rates(traffic: Traffic, rate: float, distance: float, settings: CanarySettings, alpha: float) -> float:
    """Users until the rates are shown to agree, or thumbs up and down each pass alone: the smaller number."""
    if not (rate > 0 and distance > 0):
        return math.inf
    spread = traffic.score_sd**2 + traffic.rate_sd**2
    ways = ((traffic.rate_sd**2, settings.rate_tolerance * rate), (spread + 2 * abs(traffic.covariance), distance))
    return min(float(users_to_show(alpha, variance, settings.share, far)) for variance, far in ways)


def _users(deviation: float, distance: float, settings: CanarySettings, alpha: float) -> float:
    """Users in both arms until the sequence is as narrow as `distance`."""
    if not (distance > 0 and math.isfinite(deviation)):
        return math.inf
    from scipy.optimize import root_scalar  # control imports this module, and starts without

    rho2 = tuning(alpha, settings.planned_users, max(deviation, 1e-6) ** 2, settings.share)

    def wider(log_users: float) -> float:
        users = math.exp(log_users)
        error = deviation / math.sqrt(users * settings.share * (1 - settings.share))
        return float(margin(alpha, rho2, users, error)) - distance

    low, high = math.log(2), math.log(1e15)
    if wider(low) <= 0:
        return 2.0
    return math.exp(root_scalar(wider, bracket=(low, high)).root) if wider(high) < 0 else math.inf
