"""Studies: what the pages of a model, of a run and of the system show, made from rows of the store.

It owns names and shapes of shown data; it must not change anything.
"""

import json
import shutil
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from core.db import decisions, evaluations, feedback, interactions, routes, snapshots, spools, versions
from core.db.store import Store
from core.prompts import from_stored, subject
from ops import views
from ops.audit import views as audit_views
from ops.control import Control
from ops.local.doctor import MOST_UNSHIPPED
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
DISK_LOW = 0.1
# A target that refuses so often in a row is more than busy.
MOST_REFUSALS = 3


def model(control: Control, name: str) -> View:
    """A model: what serves and why, its KPI over versions, what came in, and who served how much."""
    now = views.model(control, name)
    store = control.store
    since = (control.clock() - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        "model": now,
        "serving": views.decision(store, now["decision"]) if now["decision"] else None,
        "lineage": _lineage(store, name, now["champion"]),
        "taken_back": versions.taken_back(store, model=name, version=now["champion"]).get(now["champion"]),
        "judged": judged(store, name),
        "routes": routes.newest(store, model=name, limit=MOST_ROUTES),
        "traffic": interactions.traffic_by_day(store, model=name, since=since.date()),
        "feedback": feedback.by_day(store, model=name, since=since),
        "days": DAYS,
    }


def judged(store: Store, name: str) -> list[View]:
    """The newest judged candidates, oldest first: primary KPI of champion and candidate, and rows learned from."""
    found = []
    for row in decisions.measured(store, model=name, limit=MOST_VERSIONS):
        body = json.loads(row.body)
        primary = views.primary(body["evidence"])
        if primary:
            rows = body["lineage"].get("rows", {}).get("train")
            found.append(
                {
                    "id": row.id,
                    "time": row.time,
                    "version": row.to_version,
                    "train_rows": rows,
                    "verdict": row.verdict,
                    **primary,
                }
            )
    return found[::-1]


def _lineage(store: Store, name: str, version: int) -> View | None:
    row = decisions.with_lineage(store, model=name, version=version)
    return {"decision": row.id, **json.loads(row.body)["lineage"]} if row else None


def regressions(store: Store, decision: View) -> list[View]:
    """Where the candidate of a decision that rests on an evaluation did worst, each with its question."""
    if not decision["run_id"] or "primary" not in decision["evidence"]:
        return []
    return [_regression(row) for row in evaluations.regressions(store, run_id=decision["run_id"])]


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


def quarantine(store: Store, identity: str) -> View:
    """A quarantine: whose votes, why, by which decision, and the first of them. Raises NotFound."""
    found = views.quarantine(store, identity, MOST_VOTES)
    row = views.quarantined(store, identity)
    about = {"votes": row["votes"], "users": row["users"], "sample": found["votes"]}
    return {"quarantine": found | about, "decision": views.decision(store, found["decision_id"])}


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
        {"step": step["done"], "loss": float(step["metrics"]["loss"])}
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


def system(control: Control, deliveries: list[Delivery]) -> View:
    """The parts and how they are: engines, gateways, spools, disk, ledger; what is wrong comes first, in words."""
    store, found = control.store, parts(control, deliveries)
    return found | {
        "spools": spools.seen(store),
        "newest_interaction": interactions.newest_time(store),
        "dead_letters_newest": spools.newest_dead_letters(store, limit=10),
        "alarms": alarms(found),
    }


def parts(control: Control, deliveries: list[Delivery]) -> View:
    """The state of the parts that alarms are about. It reads no table that grows with traffic."""
    board = control.promotion.board
    engines = [
        {
            "url": s.url,
            "ready": s.ready,
            "healthy": s.healthy,
            "adapters": list(s.adapters),
            "missing": list(s.missing),
            "error": s.error,
        }
        for s in control.engines.states
    ]
    gateways = [
        {
            "gateway": name,
            "up_to_date": report.etag == board.etag,
            "in_flight": sum(report.in_flight.values()),
            "unshipped": report.unshipped,
            "dropped": report.dropped,
        }
        for name, report in sorted(board.gateways().items())
    ]
    disk = shutil.disk_usage(control.settings.data)
    return {
        "engines": engines,
        "gateways": gateways,
        "notifications": [asdict(delivery) for delivery in deliveries],
        "dead_letters": spools.count_dead_letters(control.store),
        "disk": {"free": disk.free, "total": disk.total},
        "ledger": control.ledger.report(),
        "audit_log": audit_views.state(control.audit, control.audit_watch),
    }


def alarms(found: View) -> list[str]:
    """What is wrong, a sentence each. A pure function."""
    said = [f"The ledger is broken. {found['ledger']['reason']}"] if not found["ledger"]["ok"] else []
    if not found["audit_log"]["ok"]:
        said.append(f"The audit log is broken. {found['audit_log']['reason']}")
    if found["audit_log"]["failing"]:
        said.append("The audit log cannot be written. Acts are refused until it can.")
    if not found["engines"]:
        said.append("No engine has been checked yet.")
    for engine in found["engines"]:
        if not engine["ready"]:
            missing = ", ".join(engine["missing"])
            said.append(f"The engine at {engine['url']} is not ready: {engine['error'] or f'it lacks {missing}'}.")
    if not found["gateways"]:
        said.append("No gateway has asked for routes in the last minute.")
    late = [gateway["gateway"] for gateway in found["gateways"] if not gateway["up_to_date"]]
    said += [f"The gateway {name} does not have the newest routes." for name in late]
    said += _capture_alarms(found["gateways"])
    said += [
        f"The notification target {one['target']} refused {one['refusals']} times; {one['behind']} rows wait."
        for one in found["notifications"]
        if one["refusals"] >= MOST_REFUSALS
    ]
    if found["dead_letters"]:
        said.append(f"{found['dead_letters']} records made no row and were set aside.")
    if found["disk"]["free"] < DISK_LOW * found["disk"]["total"]:
        said.append(f"The disk has {found['disk']['free'] / 2**30:.1f} GiB left.")
    return said


def _capture_alarms(gateways: list[View]) -> list[str]:
    lagging = [one for one in gateways if one["unshipped"] > MOST_UNSHIPPED]
    said = [
        f"The gateway {one['gateway']} has {one['unshipped'] / 1e6:.0f} MB that control has not received."
        for one in lagging
    ]
    return said + [
        f"The gateway {one['gateway']} could not keep {one['dropped']} interactions; is its disk full?"
        for one in gateways
        if one["dropped"]
    ]
