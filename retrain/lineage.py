"""Lineage: what the ledger keeps of where a candidate came from.

It owns its fields; none of them holds what a user wrote.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.model_folder import ModelFolder, weights_sha256
from core.records import Version
from core.settings import ModelSettings, settings_sha256
from feedback.snapshot import Snapshot
from retrain.plan import Plan
from retrain.trainer.job import REPORT, Job, Report
from serve.retrieval.retriever import Retrieval


def lineage_of(base: ModelFolder, settings: ModelSettings, snapshot: Snapshot, candidate: Version) -> dict[str, Any]:
    """Base model, settings and data of a candidate."""
    return {
        "base_model": base.name,
        "base_sha256": weights_sha256(base.path),
        f"{candidate.kind}_sha256": candidate.sha256,
        # Every candidate is trained from the base model, on the whole snapshot.
        "parent": f"{candidate.model}@0",
        "config_sha256": settings_sha256(settings),
        "snapshot": snapshot.hash,
        "rows": snapshot.report.rows,
        "users": snapshot.report.users,
        "signals": snapshot.report.signals,
        "by_signal": snapshot.report.by_signal,
        "left_out": snapshot.report.left_out,
        "warnings": snapshot.report.warnings,
        "scrubbed": snapshot.report.scrubbed,
        "pairs": snapshot.report.pairs,
    }


def training_of(job: Job, plan: Plan, noted: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the ledger keeps of the making of an adapter, with the reason for its method.

    `noted` is what the run kept of it, for a run whose folder is gone.
    """
    known = {"forgetting": noted["forgetting"]} if noted and "forgetting" in noted else {}
    return {"training": known | training_summary(job) | {"because": plan.reason}}


def notes_of(made: Mapping[str, Any]) -> dict[str, Any]:
    """What a run keeps of the making of an adapter: why its training stopped, and what it forgot, if that is known."""
    training, then = made["training"], made["training"].get("then") or {}
    first, second = ((one.get("dev") or {}).get("reason") for one in (training, then))
    if then:
        first, second = first and f"SFT: {first}", second and f"DPO: {second}"
    stopped = " ".join(sentence for sentence in (first, then.get("skipped"), second) if sentence)
    found = {"stopped": stopped, "forgetting": training.get("forgetting")}
    return {name: value for name, value in found.items() if value}


def training_summary(job: Job) -> dict[str, Any]:
    """What of a training the ledger keeps: its settings, its rows, and how many were left out for each reason.

    `then` has the same of a second objective, where there is one.
    """
    report = Report.read(Path(job.output) / REPORT)
    left_out = ("base", "snapshot", "output", "answers", "labels", "kpi", "scores", "share", "resamples")
    kept = {name: value for name, value in asdict(job).items() if name not in left_out}
    found = asdict(report) if report else {}
    then = (kept.pop("then") or {}) | (found.pop("then", None) or {})
    return kept | found | ({"then": then} if then else {})


def retrieval_summary(retrieval: Retrieval) -> dict[str, Any]:
    """What of a retrieval the ledger keeps: how much it shows, and none of the texts."""
    kinds = Counter(entry.shape for entry in retrieval.entries)
    return {
        "k": retrieval.k,
        "budget_tokens": retrieval.budget_tokens,
        "context_tokens": retrieval.context_tokens,
        "entries": dict(kinds),
    }
