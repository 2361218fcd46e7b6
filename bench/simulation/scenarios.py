"""Scenarios of bench/gates.py: the users in each, the gates that judge it, and whether a promotion in it is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.simulation import baseline_gates
from bench.simulation.creep import CanaryRow
from bench.simulation.live import LOOKS, Gate, HoldbackGate, OurGate, Ours
from bench.simulation.selected_labels import SelectedLabels
from bench.simulation.slices import Sliced
from bench.simulation.user_model import Floats, People, brigaded, harmed, once, several, weekly
from core.settings import CanarySettings, HoldbackSettings
from eval.gates.live_arms import Plan
from rollout.live_plan import LEAST_SD

OURS = "ours"
VOTES: Mapping[str, Gate] = {
    "point estimate, n=200": baseline_gates.PointAt(200),
    "point estimate, any look": baseline_gates.point_any,
    "z-test .05, peeking": baseline_gates.z_peeking,
    "likelihood-ratio stop": baseline_gates.likelihood_ratio,
}
ITEMS: Mapping[str, Gate] = {
    "item-level z, peeking": baseline_gates.z_peeking,
    "item-level confidence sequence": baseline_gates.item_sequence,
}
WEEK = (0.74, 0.72, 0.70, 0.68, 0.66, 0.64, 0.76)
DAY_LOOKS = 6
DECAY_LOOK = 20
HOLDBACK = "holdback"


@dataclass(frozen=True, slots=True)
class Canary:
    """A live scenario: its users, the settings, and whether a promotion in it is wrong (`null`).

    One that is not `counted` shows what the gate gets wrong without a protection that is a setting. A `share` above a
    half is a holdback's, in which the newer version gets worse at the look `decays`.
    """

    people: People
    null: bool = False
    counted: bool = True
    strict: bool = True
    hostile_share: float = 0.0
    share: float = 0.5
    harm_ratio: float = 1.5
    naive: Mapping[str, Gate] | None = None
    looks: int = LOOKS
    decays: int = 0

    @property
    def settings(self) -> CanarySettings:
        """The defaults but for what the scenario is about; time limits never apply."""
        return CanarySettings(
            share=min(self.share, 0.5),
            strict=self.strict,
            hostile_share=self.hostile_share,
            harm_ratio=self.harm_ratio,
            min_minutes=0,
            max_hours=1e9,
        )

    @property
    def plan(self) -> Plan:
        """Users' scores and feedback rates under the champion, as history would give them."""
        chances = self.people.control(0) if callable(self.people.control) else self.people.control
        scores = (self.people.ups - self.people.downs) / self.people.requests
        rates = self.people.rated / self.people.requests
        score, rate = chances @ scores, chances @ rates
        known = {
            "score_sd": chances @ scores**2 - score**2,
            "rate_mean": rate,
            "rate_sd": chances @ rates**2 - rate**2,
            "covariance": chances @ (scores * rates) - score * rate,
        }
        found = {
            name: float(np.sqrt(max(value, 0)) if name.endswith("_sd") else value) for name, value in known.items()
        }
        return Plan(
            self.share,
            **found | {"score_sd": max(found["score_sd"], LEAST_SD), "rate_sd": max(found["rate_sd"], LEAST_SD)},
        )

    @property
    def gates(self) -> dict[str, Gate]:
        """Ours, and the naive gates that it is compared with."""
        return {OURS: self.ours, **(self.naive or {})}

    @property
    def ours(self) -> Ours:
        """The product's own gate."""
        if self.share <= 0.5:
            return OurGate(self.plan, self.settings)
        return HoldbackGate(self.plan, HoldbackSettings(share=1 - self.share, harm_ratio=self.harm_ratio))


def after(look: int, before: People, then: People) -> People:
    """People whose canary changes at a look."""

    def chances(now: int) -> Floats:
        found = (before if now < look else then).canary
        assert isinstance(found, np.ndarray)
        return found

    return replace(before, canary=chances)


def approvals(gain: float, **more: Any) -> People:
    """Users of one request; the champion at 70 %."""
    return once(0.7, 0.7 + gain, **more)


# Wrong (null) is: with `strict`, promoting what is not better; without, what is worse by the margin; and, with
# either, promoting for votes that say nothing of quality.
LIVE: dict[str, Canary] = {
    "equal, strict": Canary(approvals(0), null=True, naive=VOTES),
    "+2 points, strict": Canary(approvals(0.02), naive=VOTES),
    "+5 points, strict": Canary(approvals(0.05), naive=VOTES),
    "+10 points, strict": Canary(approvals(0.10), naive=VOTES),
    "-5 points, strict": Canary(approvals(-0.05), null=True, naive=VOTES),
    "-5 points": Canary(approvals(-0.05), null=True, strict=False),
    "equal": Canary(approvals(0), strict=False),
    "+2 points": Canary(approvals(0.02), strict=False),
    "+5 points": Canary(approvals(0.05), strict=False),
    "equal, clustered users, strict": Canary(several(0.7, 0.7, requests=8), null=True, naive=ITEMS),
    "+5 points, clustered users, strict": Canary(several(0.7, 0.75, requests=8)),
    "equal, 20 % of requests rated, strict": Canary(approvals(0, rate=0.2), null=True),
    "equal, 2 % of requests rated, strict": Canary(approvals(0, rate=0.02), null=True),
    "+5 points, 20 % of requests rated, strict": Canary(approvals(0.05, rate=0.2)),
    "equal, 20 % of requests rated": Canary(approvals(0, rate=0.2), strict=False),
    "-5 points, 20 % of requests rated": Canary(approvals(-0.05, rate=0.2), null=True, strict=False),
    "equal, drift by day of week, strict": Canary(
        weekly(lambda approval: once(approval, approval), WEEK, DAY_LOOKS),
        null=True,
        naive={"z-test against last week": baseline_gates.BeforeAfter(0.7), **VOTES},
    ),
    "votes a fifth more, strict": Canary(approvals(0, rate=0.2, canary_rate=0.24), null=True),
    "votes a fifth more": Canary(approvals(0, rate=0.2, canary_rate=0.24), null=True, strict=False),
    "happy users vote more, rate +5 %, strict": Canary(approvals(0, rate=0.2, happy=0.01), null=True, naive=VOTES),
    "happy users vote more, rate +6 %, strict": Canary(approvals(0, rate=0.2, happy=0.012), null=True),
    "happy users vote more, rate +20 %, strict": Canary(approvals(0, rate=0.2, happy=0.04), null=True, naive=VOTES),
    "2 % brigading, no caps, strict": Canary(brigaded(approvals(0), 0.02), null=True, counted=False, naive=VOTES),
    "2 % brigading, caps, strict": Canary(brigaded(approvals(0), 0.02), null=True, hostile_share=0.02),
    "2 % brigading, caps, 20 % of 8 requests rated, strict": Canary(
        brigaded(several(0.7, 0.7, requests=8, rate=0.2), 0.02), null=True, hostile_share=0.02
    ),
    "+5 points, caps, strict": Canary(approvals(0.05), hostile_share=0.02),
    "unhappy users vote less, rate -15 %, strict": Canary(
        once(0.7, 0.14 / 0.17, rate=0.2, canary_rate=0.17), null=True
    ),
    "harm 1 % to 3 %": Canary(harmed(approvals(0), 0.01, 0.03), null=True),
    "harm 1 % to 3 %, ratio 1": Canary(harmed(approvals(0), 0.01, 0.03), null=True, harm_ratio=1.0),
    "harm 1 % in both, strict": Canary(harmed(approvals(0), 0.01, 0.01), null=True),
    f"{HOLDBACK}, no decay": Canary(approvals(0), share=0.9, looks=100),
    f"{HOLDBACK}, -10 points after 1,000": Canary(
        after(DECAY_LOOK, approvals(0), approvals(-0.1)), share=0.9, looks=200, decays=DECAY_LOOK
    ),
    f"{HOLDBACK}, harm 3 % after 1,000": Canary(
        after(DECAY_LOOK, harmed(approvals(0), 0.01, 0.01), harmed(approvals(0), 0.01, 0.03)),
        share=0.9,
        looks=200,
        decays=DECAY_LOOK,
    ),
}
UNPROTECTED = {name for name, canary in LIVE.items() if not canary.counted}
RETURNING = "equal, users who return, strict"
LEAST = "five null candidates on the least holdout, clustered users"
TWENTY = "twenty null candidates on one holdout of 500"
CYCLES = "fifty whole cycles"
GAINS = ((0.0, "equal"), (-0.15, "-15 points"), (0.15, "+15 points"))
SELECTED = {
    f"wrong answers labelled {ratio} times as often, {words}": SelectedLabels(ratio, gain)
    for ratio in (1, 5, 15)
    for gain, words in GAINS
} | {
    f"wrong answers labelled {ratio} and thumbed 5 times as often, 700{of} asked, {words}": SelectedLabels(
        ratio, gain, thumb_ratio=5, asked=700, audit_share=share
    )
    for of, share in (("", 0.05), (" of 1,400", 0.5))
    for ratio in (1, 5, 15)
    for gain, words in GAINS
}
ROWS = {
    "twenty canaries of -1 to -2 points in a row": CanaryRow(0.01, 0.02, null=True),
    "twenty equal canaries in a row": CanaryRow(0, 0, null=False),
}
SLICED = {f"slices, equal, {labels:,} labels": Sliced(labels, required=0.95) for labels in (300, 500, 1000, 2000)} | {
    "slices, +5 points, 1,000 labels": Sliced(1000, gain=0.05, required=0.95),
    "slices, equal, wrong answers labelled 5 times as often, 1,000 labels": Sliced(1000, ratio=5, required=0.95),
    "slices, equal, 10 labels per voter, 1,000 labels": Sliced(1000, each=10, required=0.95),
    "slices, -8 points in all, 1,000 labels": Sliced(1000, gain=-0.08, required=0.95),
    "slices, -25 points in a fifth, +5 elsewhere, 1,000 labels": Sliced(1000, gain=0.05, loss=0.25, allowed=0.2),
    "slices, -25 points in a fifth, +5 elsewhere, 5 labels per voter, 1,000 labels": Sliced(
        1000, gain=0.05, loss=0.25, each=5, allowed=0.2
    ),
    "slices, -25 points in a fifth, +5 elsewhere, 2,000 labels": Sliced(2000, gain=0.05, loss=0.25, allowed=0.2),
    # Topics that are proxies for a label: by accuracy, or by macro F1 in the topic, better candidates fail here.
    "slices, equal, topics 95 % of one label, 1,000 labels": Sliced(1000, proxy=0.95, required=0.95),
    "slices, champion gives one label, topics 95 % of one label, 1,000 labels": Sliced(
        1000, gain=0.1, proxy=0.95, bias=1, required=0.95
    ),
    "slices, champion gives one label, topics of one label, 2,000 labels": Sliced(
        2000, gain=0.1, proxy=1, bias=1, required=0.95
    ),
    "slices, champion gives one label for half, topics 98 % of one label, 1,000 labels": Sliced(
        1000, proxy=0.98, bias=0.5, required=0.95
    ),
    "slices, -25 points in a topic 95 % of one label, +5 elsewhere, 1,000 labels": Sliced(
        1000, gain=0.05, loss=0.25, fallen=("topic", 1), proxy=0.95
    ),
    "slices, -25 points in a topic 95 % of one label, +5 elsewhere, 2,000 labels": Sliced(
        2000, gain=0.05, loss=0.25, fallen=("topic", 1), proxy=0.95, allowed=0.2
    ),
}
