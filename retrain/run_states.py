"""States of runs: what works, waits or has ended, and what a person may do. Pure data, also for the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

QUEUED, SNAPSHOT, TRAINING, EVALUATING = "queued", "snapshot", "training", "evaluating"
MEASURING, PAUSED, CANCELLED = "measuring", "paused", "cancelled"


@dataclass(frozen=True, slots=True)
class State:
    """What a state means. A `waiting` run has not ended, and nothing of it is being done.

    `instead` says what to do where neither `cancel` nor `pause` is possible before the end.
    """

    kind: Literal["working", "waiting", "ended"]
    actions: tuple[str, ...] = ()
    instead: str = ""


_WORKS = State("working", ("pause", "cancel"))
_ENDED = State("ended")
STATES: Mapping[str, State] = {
    QUEUED: _WORKS,
    SNAPSHOT: _WORKS,
    TRAINING: _WORKS,
    EVALUATING: _WORKS,
    MEASURING: State("working", ("cancel",)),
    PAUSED: State("waiting", ("resume", "cancel")),
    "canary": State("waiting", instead="Stop its canary: loraloop canary stop {model}"),
    "awaiting_approval": State("waiting", instead="Reject its candidate: loraloop promotions reject"),
    "finished": _ENDED,
    "failed": _ENDED,
    "skipped": _ENDED,
    "measured": _ENDED,
    CANCELLED: _ENDED,
}


def is_working(state: str) -> bool:
    """Whether something of a run in this state is being done, or is queued."""
    return state in STATES and STATES[state].kind == "working"


def allowed_actions(state: str) -> list[str]:
    """What a person may do to a run in this state."""
    return list(STATES[state].actions) if state in STATES else []
