"""Studies: what the pages of a model, of a run and of the system show, made from rows of the store.

It owns names and shapes of shown data; it must not change anything.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from core.db import decisions, evaluations, feedback, interactions, routes, snapshots, spools, versions
from core.db.store import Store
from core.prompts import from_stored, subject
from ops import views
from ops.alarms import measurement
from ops.alarms.watch import AlarmWatch
from ops.audit import views as audit_views
from ops.blind_labels import BlindLabels
from ops.control import Control
from ops.notify.notifier import Delivery
from ops.snapshot_report import sections
from retrain.trainer.process import LOG

View = views.View
# The maximum number of judged candidates in a picture, and the days of traffic and feedback.
MOST_VERSIONS = 40
DAYS = 30
MOST_ROUTES = 20
MOST_VOTES = 50
LOG_BYTES = 16 * 1024


def model(control: Control, name: str) -> View:
    """A model: what serves and why, its KPI over versions, what came in, and who served how much."""
    store = control.store
    since = (control.clock() - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    # Two threads share the queries, because each uses little more than one core.
    with ThreadPoolExecutor(1) as other:
        curve = other.submit(judged, store, [name], MOST_VERSIONS)
        now = views.model(control, name)
        champion = now["champion"]
        gone = other.submit(versions.taken_back, store, model=name, version=champion)
        return {
            "model": now,
            "serving": views.ledger_row(store, now["decision"]) if now["decision"] else None,
            "lineage": _lineage(store, name, champion),
            "routes": routes.newest(store, model=name, limit=MOST_ROUTES),
            "traffic": interactions.traffic_by_day(store, model=name, since=since.date()),
            "feedback": feedback.by_day(store, model=name, since=since),
            "days": DAYS,
            "looks": _looks(store, now),
            "judged": curve.result()[name],
            "taken_back": gone.result().get(champion),
        }


def _looks(store: Store, now: View) -> list[View]:
    """Looks of the running canary, oldest first."""
    return [] if now["canary"] is None or now["run"] is None else views.looks(store, now["run"]["id"])


def judged(store: Store, names: Sequence[str], limit: int) -> dict[str, list[View]]:
    """Judged candidates by model, oldest first: primary KPI of champion and candidate, and rows learned from."""
    measured = decisions.measured(store, models=names, limit=limit)
    return {name: [entry for row in rows[::-1] if (entry := _judged(row))] for name, rows in measured.items()}


def _judged(row: decisions.MeasuredDecision) -> View | None:
    primary = views.primary(row.body["evidence"])
    if not primary:
        return None
    rows = row.body["lineage"].get("rows", {}).get("train")
    plain = {"id": row.id, "time": row.time, "version": row.to_version, "train_rows": rows, "verdict": row.verdict}
    return plain | primary


def _lineage(store: Store, name: str, version: int) -> View | None:
    row = decisions.with_lineage(store, model=name, version=version)
    return {"decision": row.id, **json.loads(row.body)["lineage"]} if row else None


def regressions(store: Store, decision: View, blind: BlindLabels) -> list[View]:
    """Where the candidate of a decision that rests on an evaluation did worst, each with its question.

    It leaves out answers that the reader can still label, because each row tells the right label.
    """
    if not decision["run_id"] or "primary" not in decision["evidence"]:
        return []
    found = [_regression(row) for row in evaluations.regressions(store, run_id=decision["run_id"])]
    hidden = blind.open_answers(decision["model"], [row["interaction_id"] for row in found])
    return [row for row in found if row["interaction_id"] not in hidden]


def _regression(row: evaluations.Regression) -> View:
    prompt = from_stored(row.endpoint, row.request)
    return {
        "place": row.place,
        "interaction_id": row.interaction_id,
        "kpi": row.kpi,
        "wanted": row.wanted or _correction(row.correction),
        "champion": row.champion,
        "candidate": row.candidate,
        "loss": row.loss,
        "question": subject(prompt) if prompt else None,
    }


def _correction(value: str | None) -> str | None:
    """A correction as text; JSON values stay JSON."""
    found = json.loads(value) if value else None
    return found if isinstance(found, str | None) else value


def quarantine(store: Store, identity: str, blind: BlindLabels) -> View:
    """A quarantine: whose votes, why, by which decision, and the first of them. Raises NotFound."""
    found = views.quarantine(store, identity, MOST_VOTES, blind)
    about = found["size"] | {"sample": found["votes"], "said": votes_text(**found["size"])}
    return {"quarantine": found | about, "decision": views.decision(store, found["decision_id"])}


def votes_text(votes: int, users: int, unnamed: int) -> str:
    """How many votes of how many users, such as `12 votes from 3 users, 2 of them without a user`."""
    said = f"{votes:,} vote{'' if votes == 1 else 's'} from {users:,} user{'' if users == 1 else 's'}"
    return said + (f", {unnamed:,} of them without a user" if unnamed else "")


def run(control: Control, identity: str) -> View:
    """A run: its steps, what each phase took, the loss as it fell, and the end of the trainer's log."""
    found = views.run(control.store, identity)
    report = snapshots.of_run_or_hash(control.store, identity=identity)
    return {
        "run": found,
        "losses": _losses(found["steps"]),
        "seconds": _seconds(found),
        "log": _log(control, identity),
        "data": sections(json.loads(report["report"])) if report else [],
    }


def _losses(steps: list[View]) -> list[View]:
    return [
        {"step": step["done"], "loss": float(step["metrics"]["loss"]), "objective": step["metrics"].get("objective")}
        for step in steps
        if step["phase"] == "training" and isinstance(step["metrics"].get("loss"), int | float)
    ]


def _seconds(found: View) -> dict[str, float]:
    """What each phase took, from the first step seen of it to the first of the next, or to the end."""
    begun: dict[str, Any] = {"snapshot": found["started"]}
    for step in found["steps"]:
        begun.setdefault("search" if step["phase"].startswith("trial ") else step["phase"], step["time"])
    last = found["steps"][-1]["time"] if found["steps"] else found["finished"]
    ends = [*list(begun.values())[1:], found["finished"] or last]
    return {
        phase: max(0.0, (end - start).total_seconds())
        for (phase, start), end in zip(begun.items(), ends, strict=True)
        if end
    }


def _log(control: Control, identity: str) -> str:
    # The store has the run, so its id is one of ours; yet nothing outside the folder of runs is read.
    folder = control.settings.data / "runs"
    file = (folder / identity / LOG).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return ""
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - LOG_BYTES))
        return content.read().decode(errors="replace")


def system(control: Control, watch: AlarmWatch, deliveries: list[Delivery]) -> View:
    """The parts and how they are: engines, gateways, spools, disk, ledger; what is wrong comes first, in words."""
    store = control.store
    return {
        "alarms": watch.alarms(),
        "alarms_checked": watch.checked,
        "engines": measurement.engines(control),
        "gateways": measurement.gateways(control),
        "notifications": [asdict(delivery) for delivery in deliveries],
        "dead_letters": spools.count_dead_letters(store),
        "disk": measurement.disk(control),
        "backups": measurement.backups(control),
        "ledger": control.ledger.report(),
        "audit_log": audit_views.state(control.audit, control.audit_watch),
        "spools": spools.seen(store),
        "newest_interaction": interactions.newest_time(store),
        "dead_letters_newest": spools.newest_dead_letters(store, limit=10),
    }
