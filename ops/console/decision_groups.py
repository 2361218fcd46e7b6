"""The log of decisions by run: one entry per run with its steps, as a canary's progress is shown elsewhere.

It owns which rows belong together and in which order; it must not read more than the runs of one page.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from core.db import decisions as decisions_table
from core.db import live_tests, runs
from core.db.decisions import RunDecision
from core.db.live_tests import LookCount
from core.db.runs import BegunRun
from core.db.store import Store
from ops import views
from ops.verdict_words import VERDICT_WORDS

View = dict[str, Any]
# An event of its own after the decision that it is about, so that it never leads a group.
SWITCHED = "switched"
# Verdicts that need a passed or failed offline gate.
GATED = ("canary_started", "awaiting_approval", "promoted", "kept", "inconclusive", "rejected")
# The maximum number of steps that a group shows, the first and the last ones. A canary can be paused a hundred times.
MOST_STEPS = 12
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Step:
    """What happened, and its time; `later` is the seconds since the step before. A step without time goes on now."""

    words: str
    time: datetime | None
    href: str = ""
    verdict: str | None = None
    later: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of a run, or one decision without a run. `lead` is the newest decision that the filter lets through."""

    run_id: str | None
    lead: View
    primary: View | None
    gates: View | None
    steps: list[Step]
    left_out: int = 0


def groups(store: Store, wanted: views.Filter, page: Sequence[View]) -> list[Group]:
    """The decisions of a page by run, newest first, each with all steps of its run.

    A run that an earlier page of the same filter has shown is left out.
    """
    names = list(dict.fromkeys(row["run_id"] for row in page if row["run_id"]))
    rows: dict[str, list[RunDecision]] = {}
    for row in decisions_table.of_runs(store, runs=names):
        rows.setdefault(row.run_id, []).append(row)
    rows = {run: own for run, own in rows.items() if not _was_shown(wanted, own)}
    leads = {run: _lead(wanted, own).seq for run, own in rows.items()}
    known = {row["seq"]: row for row in page} | _missing(store, [*leads.values()], page)
    steps = _Steps(store, [row for own in rows.values() for row in own])
    switched = _switched(store, page)
    found: dict[str, Group] = {}
    for row in page:
        run = row["run_id"]
        if run in rows and run not in found:
            own = [known[leads[run]], *(one for one in page if one["run_id"] == run)]
            found[run] = _group(run, own, steps.of(run, own))
        elif run is None and row["id"] not in switched:
            events = [one for one in page if switched.get(one["id"]) == row["id"]]
            said = [_step(one["verdict"], one["time"], one["id"]) for one in (row, *events)] if events else []
            found[row["id"]] = _group(None, [row], _timed(said))
    return sorted(found.values(), key=lambda group: -group.lead["seq"])


def of_run(store: Store, decision: View) -> tuple[list[Step], int]:
    """The steps of the run of one decision, and how many of them are left out. Empty without a run."""
    if not decision["run_id"]:
        return [], 0
    own = [decision, *decision["related"]]
    rows = decisions_table.of_runs(store, runs=[decision["run_id"]])
    return _shortened(_Steps(store, rows).of(decision["run_id"], own))


class _Steps:
    """The steps of some runs, from three queries for all of them."""

    def __init__(self, store: Store, rows: Sequence[RunDecision]) -> None:
        names = list(dict.fromkeys(row.run_id for row in rows))
        self._rows = {name: [row for row in rows if row.run_id == name] for name in names}
        self._begun = {run.id: run for run in runs.begun(store, runs=names)}
        started = [row for row in rows if row.verdict == "canary_started"]
        self._looks = {look.run_id: look for look in self._counted(store, started)} if started else {}

    def _counted(self, store: Store, started: Sequence[RunDecision]) -> list[LookCount]:
        names = [row.run_id for row in started]
        goes_on = any(run.finished is None for name, run in self._begun.items() if name in names)
        until = FOREVER if goes_on else max(row.time for name in names for row in self._rows[name])
        return live_tests.count_looks(store, runs=names, since=min(row.time for row in started), until=until)

    def of(self, run: str, known: Iterable[View]) -> list[Step]:
        """The steps of a run in the order of time; the last one has no time while the run goes on."""
        rows, begun, looks = self._rows[run], self._begun.get(run), self._looks.get(run)
        found = _beginning(begun) if begun else []
        gates = next((view["gates"] for view in known if view["gates"]), None)
        gated = next((row for row in rows if row.verdict in GATED), None)
        if gates and gated:
            href = f"/promotions/{gated.id}?tab=gate#evidence"
            found.append(Step(f"Offline gate: {gates['passed']} of {gates['of']} checks", gated.time, href))
        started = next((row for row in rows if row.verdict == "canary_started"), None)
        if looks and started:
            words = f"{looks.looks} {'look' if looks.looks == 1 else 'looks'}"
            found.append(Step(words, looks.last, f"/promotions/{started.id}?tab=live#evidence"))
        found += [_step(row.verdict, row.time, row.id) for row in rows]
        found.sort(key=lambda step: step.time or FOREVER)
        open_state = begun.state.replace("_", " ") if begun and begun.finished is None else None
        return _timed(found) + ([Step(f"now: {open_state}", None)] if open_state else [])


def _beginning(begun: BegunRun) -> list[Step]:
    found = [Step("Run started", begun.started, f"/runs/{begun.id}")]
    return [*found, Step(f"v{begun.candidate} trained", begun.made)] if begun.made else found


def _step(verdict: str, time: datetime, identity: str) -> Step:
    return Step(VERDICT_WORDS.get(verdict, verdict), time, f"/promotions/{identity}", verdict)


def _timed(steps: Sequence[Step]) -> list[Step]:
    """The steps, each with the seconds since the one before."""
    later = [
        Step(step.words, step.time, step.href, step.verdict, (step.time - before.time).total_seconds())
        for before, step in pairwise(steps)
        if step.time and before.time
    ]
    return [*steps[:1], *later]


def _shortened(steps: list[Step]) -> tuple[list[Step], int]:
    """The first and the last steps, and how many are left out between them."""
    half = MOST_STEPS // 2
    return (steps, 0) if len(steps) <= MOST_STEPS else ([*steps[:half], *steps[-half:]], len(steps) - MOST_STEPS)


def _group(run: str | None, own: Sequence[View], steps: list[Step]) -> Group:
    primary, gates = (next((row[name] for row in own if row[name]), None) for name in ("primary", "gates"))
    return Group(run, own[0], primary, gates, *_shortened(steps))


def _passes(wanted: views.Filter, row: RunDecision) -> bool:
    """Whether the filter lets a row through, as the query does it."""
    return (
        wanted.model in (None, row.model)
        and wanted.verdict in (None, row.verdict)
        and (wanted.since is None or row.time >= wanted.since)
        and (wanted.until is None or row.time < wanted.until)
    )


def _was_shown(wanted: views.Filter, rows: Sequence[RunDecision]) -> bool:
    return wanted.before is not None and any(row.seq >= wanted.before and _passes(wanted, row) for row in rows)


def _lead(wanted: views.Filter, rows: Sequence[RunDecision]) -> RunDecision:
    """The newest decision that the filter lets through; a switch only if there is nothing else."""
    through = [row for row in rows if _passes(wanted, row)]
    return max(through, key=lambda row: (row.verdict != SWITCHED, row.seq))


def _missing(store: Store, numbers: Sequence[int], page: Sequence[View]) -> dict[int, View]:
    """Views of the decisions that lead a group and are not on the page."""
    here = {row["seq"] for row in page}
    found = decisions_table.by_numbers(store, numbers=[seq for seq in numbers if seq not in here])
    return {row["seq"]: views.summary(row) for row in found}


def _switched(store: Store, page: Sequence[View]) -> dict[str, str]:
    """The decision on the page that each switch without a run belongs to."""
    alone = [row["seq"] for row in page if row["verdict"] == SWITCHED and not row["run_id"]]
    here = {row["id"] for row in page}
    bodies = {row["id"]: json.loads(row["body"]) for row in decisions_table.by_numbers(store, numbers=alone)}
    decided = {event: body["live"].get("decision") for event, body in bodies.items()}
    return {event: decision for event, decision in decided.items() if decision in here}
