"""Canaries and holdbacks: their plans, interim analyses and the counts of users per arm."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core.db.store import Database, Row, Transaction


@dataclass(frozen=True, slots=True)
class LookCount:
    """Number of interim analyses of a run's canary, and when the last one was."""

    run_id: str
    looks: int
    last: datetime


def add_canary(
    db: Database,
    *,
    run_id: str | None,
    model: str,
    control: int,
    candidate: int,
    share: float,
    started: datetime,
    score_sd: float,
    plan: str,
    decision: str,
) -> None:
    """Add a canary that has just started."""
    db.run(
        "live_tests.add_canary",
        run_id=run_id,
        model=model,
        control=control,
        candidate=candidate,
        share=share,
        started=started,
        score_sd=score_sd,
        plan=plan,
        decision=decision,
    )


def open_canaries(db: Database) -> list[Row]:
    """Every running canary with the state of its run and its newest interim analysis, oldest first."""
    return db.rows("live_tests.open_canaries")


def count_comparisons(db: Database, *, model: str, anchor: int) -> int:
    """Number of canaries of a model that served this version as the anchor."""
    return int(db.one("live_tests.count_comparisons", model=model, anchor=anchor)["n"])


def pause_canary(db: Database, *, time: datetime, model: str) -> None:
    """Pause the running canary of a model."""
    db.run("live_tests.pause_canary", time=time, model=model)


def restart_canary(db: Database, *, model: str, share: float, started: datetime, score_sd: float, plan: str) -> None:
    """Begin the count of the running canary of a model again, with another share and plan. It is not paused then."""
    db.run("live_tests.restart_canary", model=model, share=share, started=started, score_sd=score_sd, plan=plan)


def close_canary(db: Database, *, time: datetime, model: str) -> None:
    """End the running canary of a model, if there is one."""
    db.run("live_tests.close_canary", time=time, model=model)


def add_look(
    transaction: Transaction,
    *,
    run_id: str,
    look: int,
    time: datetime,
    started: datetime,
    verdict: str,
    reason: str,
    body: str,
) -> None:
    """Add one interim analysis of a canary, the newest. `started` is when its count began.

    If a person has begun the count again since, the analysis is no state of the canary.
    """
    transaction.run(
        "live_tests.add_look", run_id=run_id, look=look, time=time, verdict=verdict, reason=reason, body=body
    )
    transaction.run("live_tests.set_canary_numbers", run_id=run_id, look=look, time=time, started=started, body=body)


def looks(db: Database, *, run_id: str, most: int, newest: int) -> list[Row]:
    """Interim analyses of a run's canary since its count began, oldest first.

    They are the last `newest`, and of all of them at most `most` at equal distances. `look` is the number of each.
    """
    canary = db.maybe("live_tests.canary_of_run", run_id=run_id)
    if canary is None:
        return []
    until = canary["finished"] or datetime.max.replace(tzinfo=UTC)
    return db.rows("live_tests.looks", run_id=run_id, since=canary["started"], until=until, most=most, newest=newest)


def count_looks(db: Database, *, runs: Sequence[str], since: datetime, until: datetime) -> list[LookCount]:
    """How many interim analyses each of these runs' canaries has had between two moments, and when the last one was."""
    return [LookCount(**row) for row in db.rows_in("live_tests.count_looks", runs, since=since, until=until)]


def count_arms(
    db: Database,
    *,
    labels: Sequence[str],
    blanks: str,
    harm_voters: int,
    model: str,
    control: int,
    candidate: int,
    since: datetime,
) -> list[Row]:
    """Count users, votes, harm and stray answers per version, over users."""
    return db.rows(
        "live_tests.count_arms",
        labels=labels,
        blanks=blanks,
        harm_voters=harm_voters,
        model=model,
        control=control,
        candidate=candidate,
        since=since,
    )


def score_history(db: Database, *, model: str, before: datetime) -> Row:
    """Scores and rating rate of a model's users in the 30 days before a live test."""
    return db.one("live_tests.score_history", model=model, before=before)


def traffic_history(db: Database, *, model: str, before: datetime) -> Row:
    """Users, requests and rating rate of a model in the 7 days before a moment."""
    return db.one("live_tests.traffic_history", model=model, before=before)


def add_holdback(
    db: Database,
    *,
    run_id: str | None,
    model: str,
    promoted: int,
    held: int,
    share: float,
    score_sd: float,
    started: datetime,
    until: datetime,
    plan: str,
) -> None:
    """Add a holdback that has just started."""
    db.run(
        "live_tests.add_holdback",
        run_id=run_id,
        model=model,
        promoted=promoted,
        held=held,
        share=share,
        score_sd=score_sd,
        started=started,
        until=until,
        plan=plan,
    )


def open_holdbacks(db: Database) -> list[Row]:
    """Every running holdback, oldest first."""
    return db.rows("live_tests.open_holdbacks")


def holdback_of(db: Database, *, model: str) -> Row | None:
    """The running holdback of a model with its newest numbers."""
    return db.maybe("live_tests.holdback_of", model=model)


def set_holdback_numbers(db: Database, *, time: datetime, numbers: str, run_id: str) -> None:
    """Record the newest numbers of a holdback."""
    db.run("live_tests.set_holdback_numbers", time=time, numbers=numbers, run_id=run_id)


def close_holdback(db: Database, *, time: datetime, model: str) -> None:
    """End the running holdback of a model, if there is one."""
    db.run("live_tests.close_holdback", time=time, model=model)


def arm_latency(db: Database, *, model: str, old: int, new: int, since: datetime) -> list[Row]:
    """Median and 95th percentile latency per version, in milliseconds."""
    return db.rows("live_tests.arm_latency", model=model, old=old, new=new, since=since)
