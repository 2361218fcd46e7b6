"""How much traffic a model needs until its first promotion, as the command `plan` and the console's page show it."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from core.settings import ModelSettings

if TYPE_CHECKING:  # the formulas need SciPy, which commands start without
    from rollout.traffic_plan import Audience


def needed_traffic(audience: "Audience", settings: ModelSettings) -> dict[str, Any]:
    """The audience, each step with its days and what it needs, and advice. None stands for a step that never ends."""
    from rollout.traffic_plan import plan_traffic

    found = plan_traffic(audience, settings)
    steps = [
        asdict(step) | {"ends": step.ends, "days": _finite(step.days), "count": _finite(step.count)}
        for step in found.steps
    ]
    return {"audience": asdict(audience), "steps": steps, "advice": list(found.advice)}


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
