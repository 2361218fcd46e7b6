"""Badges: the counts next to the names of pages, of what waits for a person there."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.db import decisions
from core.db import quarantines as quarantines_table
from ops.alarms.watch import AlarmWatch, urgent
from ops.console import labelling
from ops.control import Control

# To find the answers in doubt takes some 20 ms per model, and every page shows their number.
KEPT = timedelta(minutes=1)
# Numbers of models and people. A number that was left out is counted again for its visitor.
MOST_KEPT = 2_000


@dataclass(frozen=True, slots=True)
class Badge:
    """A count, and what is counted. `more` says that counting ended there."""

    count: int
    words: str
    more: bool = False


class Badges:
    """Counts what waits. The number of answers to label is at most KEPT old."""

    def __init__(self, control: Control, watch: AlarmWatch) -> None:
        self._control = control
        self._watch = watch
        self._answers: OrderedDict[tuple[str, str | None], tuple[datetime, int]] = OrderedDict()
        self._one = threading.Lock()

    def count(self, allowed: Collection[str] | None, reviewer: str | None = None) -> dict[str, Badge]:
        """The badge of each page that has one, by its path, for a visitor who may see these models, None for all.

        `reviewer` is the user as whom the visitor labels. What this user has labelled does not wait.
        """
        store = self._control.store
        names = [name for name in self._control.settings.models if allowed is None or name in allowed]
        held = quarantines_table.undecided(store)
        approvals = sum(row["model"] in names for row in decisions.open_approvals(store))
        answers = self._in_doubt(names, reviewer)
        found = {
            "/promotions": _badge(approvals, "approval waits", "approvals wait"),
            "/feedback": _badge(
                sum(answers), "answer to label", "answers to label", more=labelling.MOST_SKIPPED in answers
            ),
            "/quarantine": _badge(
                sum(held.get(name, 0) for name in names), "quarantine to review", "quarantines to review"
            ),
            "/system": _badge(len(urgent(self._watch.alarms(allowed))), "alarm", "alarms"),
        }
        return {path: badge for path, badge in found.items() if badge.count}

    def _in_doubt(self, names: Iterable[str], reviewer: str | None) -> list[int]:
        """The number of answers in doubt per model. While another thread counts, the numbers before it are used.

        With one reviewer per answer, all visitors have the same number. With several, each has his own.
        """
        models = self._control.settings.models
        keys = [(name, reviewer if models[name].feedback.reviewers > 1 else None) for name in names]
        if self._one.acquire(blocking=False):
            try:
                now = self._control.clock()
                for key in keys:
                    counted, _ = self._answers.get(key, (None, 0))
                    if counted is None or now - counted >= KEPT:
                        self._answers[key] = now, len(labelling.in_doubt(self._control, *key))
                        self._answers.move_to_end(key)
                while len(self._answers) > MOST_KEPT:
                    self._answers.popitem(last=False)
            finally:
                self._one.release()
        return [self._answers.get(key, (None, 0))[1] for key in keys]


def _badge(count: int, one: str, several: str, *, more: bool = False) -> Badge:
    return Badge(count, one if count == 1 and not more else several, more)
