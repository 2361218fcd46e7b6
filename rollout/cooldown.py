"""Limits: how soon after the last change the champion may change again by itself.

It owns one pure function from times and settings to a reason; it must not know who asks nor what follows.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.settings import LimitSettings


@dataclass(frozen=True, slots=True)
class PastChange:
    """A change of who serves: when, and to which version."""

    time: datetime
    version: int


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a model lately: its newest promotion and rollback, and until when a version is held back."""

    promoted: PastChange | None = None
    rolled_back: PastChange | None = None
    held_until: datetime | None = None


def blocking_reason(model: str, history: History, settings: LimitSettings, now: datetime) -> str | None:
    """Why no candidate may take over now, or None.

    The reason names what happened and until when it holds, and not the time of asking, so that one cause has
    one reason.
    """
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
        return (
            f"The holdback beside {model}'s champion lasts until {_when(history.held_until)}; no canary fits beside it."
        )
    return None


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
