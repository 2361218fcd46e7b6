"""Plan a model's traffic before anything is trained: how many days until each gate can decide, and what to change.

The formulas are those of the gates: sample sizes of the offline gate, and the forecast of a canary.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from core.settings import CanarySettings, ModelSettings
from eval.gates.offline import LEAST_ITEMS, LEAST_USERS, spent_level
from eval.kpis.intervals import USUAL_DISCORDANCE, paired_items
from feedback.split import HOLDOUTS
from rollout.forecast import Expected, Traffic, expected_length, expected_length_with_anchor, independent_votes

# A better setting is worth a sentence if it saves a third of the days.
WORTHWHILE = 2 / 3
HALF = 0.5


@dataclass(frozen=True, slots=True)
class Audience:
    """A day of an app: new users, their requests, and the shares of requests that get a thumb and a label.

    `approval` is the share of thumbs that are up, `gain` what a candidate would add to it, both within 0 and 1. The
    same gain is expected of the share of right answers.
    """

    users_per_day: float
    requests_per_user: float = 3.0
    voted: float = 0.2
    labelled: float = 0.1
    approval: float = 0.7
    gain: float = 0.05

    def traffic(self) -> Traffic:
        """The traffic of users who vote independently, with one approval for all of them."""
        return independent_votes(self.users_per_day, self.requests_per_user, self.voted, self.approval)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step needs: days, the number of `unit` until then, and the condition that takes the longest.

    `days` is infinite if the step can never end. `limit_days` is the time that the settings give, None without a limit.
    """

    step: str
    days: float
    count: float
    unit: str
    binds: str
    limit_days: float | None = None

    @property
    def ends(self) -> bool:
        """Whether it can end within its limit."""
        return math.isfinite(self.days) and (self.limit_days is None or self.days <= self.limit_days)


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """The steps from now to a promotion, and advice, a sentence each."""

    steps: tuple[Step, ...]
    advice: tuple[str, ...]


def plan_traffic(audience: Audience, settings: ModelSettings) -> TrafficPlan:
    """Plan the steps to the first promotion of a candidate that is better by the gain."""
    training, offline = _training(audience, settings), _offline(audience, settings)
    steps, advice = [training, offline], list(_offline_advice(audience, offline, settings.feedback.audit_share))
    canary = settings.promotion.canary
    if canary:
        steps.append(_live("canary, equal candidate", audience, canary, 0.0))
        if not canary.strict:
            steps.append(
                _with_anchor("canary with anchor, equal candidate", audience, canary, settings.promotion.alpha)
            )
        steps.append(_live("canary, better candidate", audience, canary, audience.gain))
        advice += _live_advice(audience, canary, steps[-1])
    return TrafficPlan(tuple(steps), tuple(advice))


def _training(audience: Audience, settings: ModelSettings) -> Step:
    needed = settings.retrain.min_labels / settings.split.train
    return Step("training", _days(needed, _labels(audience)), needed, "labels", "retrain.min_labels")


def _offline(audience: Audience, settings: ModelSettings) -> Step:
    """The largest of what one holdout needs, over all users."""
    bucket = (1 - settings.split.train - settings.split.dev) / len(HOLDOUTS)
    discordance = max(USUAL_DISCORDANCE, audience.gain)
    level = spent_level(settings.promotion.alpha, 1)
    resolving = paired_items(audience.gain, discordance, level) if audience.gain > 0 else math.inf
    labels = max(LEAST_ITEMS, resolving) / bucket
    users = LEAST_USERS / bucket
    labellers = audience.users_per_day * (1 - (1 - audience.labelled) ** audience.requests_per_user)
    by_labels, by_users = _days(labels, _labels(audience)), _days(users, labellers)
    if by_users > by_labels:
        return Step("offline gate", by_users, users, "users who label", f"{LEAST_USERS} users in one holdout")
    binds = f"a gain of {100 * audience.gain:g} points" if resolving > LEAST_ITEMS else f"{LEAST_ITEMS} labels"
    return Step("offline gate", by_labels, labels, "labels", f"{binds} in one holdout")


def _live(name: str, audience: Audience, canary: CanarySettings, gain: float) -> Step:
    return _step(name, _forecast(audience, canary, gain), canary)


def _with_anchor(name: str, audience: Audience, canary: CanarySettings, alpha: float) -> Step:
    """The first canary that compares with an anchor, after a promotion without proof of a gain."""
    return _step(name, expected_length_with_anchor(audience.traffic(), canary, alpha, spent_level(alpha, 1)), canary)


def _step(name: str, found: Expected, canary: CanarySettings) -> Step:
    return Step(name, found.days, found.users, "users", found.binds, canary.max_hours / 24)


def _forecast(audience: Audience, canary: CanarySettings, gain: float) -> Expected:
    """A better candidate is further from the line that it must clear; with `strict` an equal one never clears it."""
    distance = gain if canary.strict else canary.margin + gain
    if distance <= 0:
        return Expected(math.inf, math.inf, math.inf, "strict")
    return expected_length(audience.traffic(), canary.model_copy(update={"margin": distance}))


def _labels(audience: Audience) -> float:
    return audience.users_per_day * audience.requests_per_user * audience.labelled


def _days(needed: float, per_day: float) -> float:
    return needed / per_day if per_day > 0 else math.inf


def _offline_advice(audience: Audience, offline: Step, audit_share: float) -> Iterator[str]:
    if not math.isfinite(offline.days):
        yield "Without labels, or without a gain to find, the offline gate can never decide: ask users for labels."
    elif offline.days > 30:
        yield (
            f"The offline gate needs {offline.count:,.0f} {offline.unit} for this gain: ask for more labels, or look "
            "for a larger gain first, such as with retrieval (retrain.objective: rag)."
        )
    if audience.labelled > 0 and audience.voted == 0 and not audit_share:
        yield (
            "Send thumbs too, or set feedback.audit_share: without them nothing shows how often live answers are "
            "right, so labels have no weights."
        )


def _live_advice(audience: Audience, canary: CanarySettings, better: Step) -> Iterator[str]:
    if not math.isfinite(better.days):
        yield "Without thumbs no canary can end: send thumbs, or set promotion.canary: null and mode: approve."
        return
    wide = _forecast(audience, canary.model_copy(update={"share": HALF}), audience.gain)
    share = canary.share
    if wide.days < WORTHWHILE * better.days:
        yield f"canary.share: 0.5 takes {wide.days:,.1f} days instead of {better.days:,.1f} with {share:g}."
    days = min(better.days, wide.days)
    if days * 24 > canary.max_hours:
        hours = math.ceil(1.5 * days) * 24
        yield f"canary.max_hours: {hours} gives the canary time. With {canary.max_hours:g} it ends inconclusive."
    if days > 30:
        twice = replace(audience, voted=min(1.0, 2 * audience.voted))
        found = _forecast(twice, canary.model_copy(update={"share": HALF}), audience.gain)
        yield f"Twice as many votes take {found.days:,.1f} days. Or use promotion.canary: null with mode: approve."
