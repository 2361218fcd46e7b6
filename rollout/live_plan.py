"""The plan of a live test: what it is judged by, written when it begins and read at every look.

A change of the settings applies to the next test.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, TypeVar

from core.settings import CanarySettings, HoldbackSettings, ModelSettings
from eval.gates.anchor import shares_compared
from eval.gates.live_arms import Plan
from eval.gates.offline import spent_level
from rollout.anchor import ServedAnchor

# The minimum deviation that is used, and the minimum number of voters: with fewer, the history is ignored.
LEAST_SD = 0.05
LEAST_VOTERS = 10
Test = TypeVar("Test", CanarySettings, HoldbackSettings)


@dataclass(frozen=True, slots=True)
class AnchorPlan:
    """The arm of the anchor: its version, and the plan of the comparison of the candidate with it.

    `use` is the number of this comparison with the version. All comparisons together have the whole level.
    """

    version: int
    plan: Plan
    use: int


@dataclass(frozen=True, slots=True)
class TestPlan(Generic[Test]):
    """All that a live test is judged by: its settings, the plan, and the labels that answers must keep to, if any.

    `anchor` is None if no arm gets the anchor.
    """

    settings: Test
    plan: Plan
    labels: tuple[str, ...] = ()
    anchor: AnchorPlan | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON for store and ledger."""
        plain = {
            "settings": self.settings.model_dump(mode="json"),
            "plan": asdict(self.plan),
            "labels": list(self.labels),
        }
        return plain | ({"anchor": asdict(self.anchor)} if self.anchor else {})


def create_plan(
    settings: Test,
    share: float,
    model: ModelSettings,
    history: dict[str, Any] | None,
    anchor: ServedAnchor | None = None,
) -> TestPlan[Test]:
    """The plan of a test that begins now; `share` is the share of users of the newer version.

    With an `anchor`, a canary has three arms: its champion, its candidate and this version.
    """
    compared, to_anchor = shares_compared(share) if anchor else (share, share)
    plan = Plan(compared, alpha=model.promotion.alpha, **known(history))
    arm = None
    if anchor:
        level = spent_level(plan.alpha, anchor.use)
        arm = AnchorPlan(anchor.version, replace(plan, share=to_anchor, alpha=level), anchor.use)
    return TestPlan(settings, plan, tuple(model.labels), arm)


def known(history: dict[str, Any] | None) -> dict[str, float]:
    """What a history says of users' scores and feedback rates; empty if it is short, so that the prior is used."""
    if history is None or history["voters"] < LEAST_VOTERS:
        return {}
    return {
        "score_sd": max(float(history["score_sd"]), LEAST_SD),
        "rate_mean": float(history["rate_mean"]),
        "rate_sd": max(float(history["rate_sd"]), LEAST_SD),
        "covariance": float(history["covariance"]),
    }


def load_plan(text: str | None, otherwise: Test, share: float, score_sd: float) -> TestPlan[Test]:
    """A plan as it was written down.

    Older releases wrote a canary's settings alone, and nothing of a holdback's: that test continues with these, or with
    `otherwise`, with its share and deviation from the store and the prior for all else.
    """
    written = json.loads(text) if text else {}
    whole = "plan" in written
    kept, kind = written["settings"] if whole else otherwise.model_dump() | written, type(otherwise)
    settings = kind.model_validate({name: value for name, value in kept.items() if name in kind.model_fields})
    if not whole:
        return TestPlan(settings, Plan(share, score_sd))
    anchor = written.get("anchor")  # older releases wrote none
    arm = AnchorPlan(anchor["version"], Plan(**anchor["plan"]), anchor["use"]) if anchor else None
    return TestPlan(settings, Plan(**written["plan"]), tuple(written["labels"]), arm)
