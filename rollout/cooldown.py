"""Cooldown: how soon after its last change a champion may be replaced automatically."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.db.frozen_models import Freeze
from core.db.model_states import ModelState, PastChange
from core.settings import LimitSettings


@dataclass(frozen=True, slots=True)
class History:
    """The newest promotion and rollback of a model, the end of its holdback, and its freeze."""

    promoted: PastChange | None = None
    rolled_back: PastChange | None = None
    held_until: datetime | None = None
    frozen: Freeze | None = None


def history_of(state: ModelState) -> History:
    """What limits see of a model's state."""
    held = state.holdback
    return History(state.promoted, state.rolled_back, held["until"] if held else None, state.freeze)


def blocking_reason(model: str, history: History, settings: LimitSettings, now: datetime) -> str | None:
    """Why no candidate may take over now, or None.

    The reason names the cause and its end, but not the current time, so that one cause always has the same reason.
    """
    if history.frozen:
        return freeze_reason(model, history.frozen)
    back, window = history.rolled_back, history.promoted
    if back and now < (until := back.time + timedelta(hours=settings.cooldown_hours)):
        return (
            f"{model} was rolled back on {_when(back.time)}; limits.cooldown_hours is {settings.cooldown_hours:g}, "
            f"so nothing is promoted before {_when(until)}."
        )
    if window and now < (until := window.time + timedelta(hours=settings.window_hours)):
        return (
            f"{model}@{window.version} was promoted on {_when(window.time)}; limits.window_hours is "
            f"{settings.window_hours:g}, so nothing is promoted before {_when(until)}."
        )
    if history.held_until and now < history.held_until:
        return f"{model} has a holdback until {_when(history.held_until)}; no canary can run at the same time."
    return None


def freeze_reason(model: str, freeze: Freeze) -> str:
    """Who froze a model, when and why, and how to end it."""
    why = f" ({freeze.comment})" if freeze.comment else ""
    said = f"{model} was frozen by {freeze.actor} on {_when(freeze.time)}{why}."
    return f"{said} To end it: loraloop models unfreeze {model}"


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
