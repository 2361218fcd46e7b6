"""Snapshots: immutable datasets made of feedback, named by their content.

It owns which votes become rows and which are left out, with the reasons counted; it must not know how a
row will be trained on or judged with.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.clock import Clock
from core.prompts import Prompt, from_json, from_request, subject, to_json
from core.settings import ModelSettings
from core.store import Store
from feedback.split import bucket_of, split_key

ROWS = "rows.parquet"


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled prompt: whose it was, in which bucket it fell, and the vote that labelled it."""

    interaction_id: str
    feedback_id: str
    user: str
    bucket: str
    prompt: Prompt
    label: str


@dataclass(frozen=True, slots=True)
class Report:
    """What stands in a snapshot and what was left out, by reason."""

    rows: dict[str, int]
    users: dict[str, int]
    labels: dict[str, int]
    signals: dict[str, int]
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable dataset on disk. `hash` is over its rows, so equal rows have equal names."""

    hash: str
    path: Path
    rows: tuple[Row, ...]
    report: Report

    def of(self, bucket: str) -> list[Row]:
        """The rows of one bucket."""
        return [row for row in self.rows if row.bucket == bucket]


def curate(votes: Sequence[dict[str, Any]], settings: ModelSettings) -> tuple[list[Row], Counter[str]]:
    """Rows from joined votes (by time), and how many were left out for which reason. A pure function."""
    labels = {label.strip().lower(): label for label in settings.labels}
    left_out: Counter[str] = Counter()
    newest: dict[tuple[str, str | None], Row] = {}
    for vote in votes:
        label = labels.get(str(json.loads(vote["value"])).strip().lower())
        prompt = from_request(vote["endpoint"], json.loads(vote["request"])) if vote["request"] else None
        if label is None:
            left_out["not one of the model's labels"] += 1
        elif prompt is None:
            left_out["the prompt is not kept, or not text alone"] += 1
        else:
            key = split_key(vote["user_id"], vote["conversation_id"], vote["interaction_id"])
            bucket = bucket_of(key, train=settings.split.train, dev=settings.split.dev)
            row = Row(vote["interaction_id"], vote["id"], key, bucket, prompt, label)
            place = (vote["interaction_id"], vote["voter"])
            left_out["replaced by the voter's later label"] += place in newest
            newest[place] = row
    rows = sorted(newest.values(), key=lambda row: row.feedback_id)
    judged = {_normal(row) for row in rows if row.bucket != "train"}
    kept = [row for row in rows if row.bucket != "train" or _normal(row) not in judged]
    left_out["same text as one kept to judge by"] += len(rows) - len(kept)
    return kept, +left_out


def _normal(row: Row) -> str:
    return " ".join(subject(row.prompt).lower().split())


def take(store: Store, model: str, settings: ModelSettings, *, run_id: str, folder: Path, clock: Clock) -> Snapshot:
    """Makes the snapshot of everything known now, on disk and in the store; the same rows give the same one."""
    rows, left_out = curate(store.rows("label_votes", model=model), settings)
    signals = {row["type"]: row["n"] for row in store.rows("feedback_by_type", model=model)}
    report = Report(
        rows=dict(Counter(row.bucket for row in rows)),
        users=dict(Counter(bucket for _, bucket in {(row.user, row.bucket) for row in rows})),
        labels=dict(Counter(row.label for row in rows)),
        signals=signals,
        left_out=dict(left_out),
    )
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(_plain(row), sort_keys=True).encode() + b"\n")
    name = digest.hexdigest()
    target = folder / name
    if not target.is_dir():
        _write(rows, report, target)
    with store.transaction() as transaction:
        transaction.run(
            "snapshot_add", hash=name, model=model, run_id=run_id, time=clock(), path=str(target),
            report=json.dumps(asdict(report)),
        )  # fmt: skip
        if not transaction.rows("snapshot_has_rows", snapshot=name):
            transaction.run_many(
                "snapshot_row_add",
                [
                    {"snapshot": name, "interaction_id": row.interaction_id, "feedback_id": row.feedback_id,
                     "bucket": row.bucket}
                    for row in rows
                ],
            )  # fmt: skip
    return Snapshot(name, target, tuple(rows), report)


def _plain(row: Row) -> dict[str, str]:
    return {
        "interaction_id": row.interaction_id,
        "feedback_id": row.feedback_id,
        "user": row.user,
        "bucket": row.bucket,
        "prompt": to_json(row.prompt),
        "label": row.label,
    }


def _write(rows: Sequence[Row], report: Report, target: Path) -> None:
    scratch = target.with_suffix(".part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    names = ("interaction_id", "feedback_id", "user", "bucket", "prompt", "label")
    schema = pa.schema([(name, pa.string()) for name in names])
    pq.write_table(pa.Table.from_pylist([_plain(row) for row in rows], schema=schema), scratch / ROWS)
    (scratch / "report.json").write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")
    os.rename(scratch, target)


def read(path: Path) -> list[Row]:
    """The rows of a snapshot's folder."""
    return [
        Row(**(entry | {"prompt": from_json(entry["prompt"])})) for entry in pq.read_table(path / ROWS).to_pylist()
    ]
