"""Build snapshots: immutable datasets made of feedback, named by their content.

Votes that are left out are counted by reason.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.clock import Clock
from core.db import feedback, snapshots
from core.db.store import Store
from core.errors import IntegrityFailed
from core.prompts import Prompt, from_json, from_request, subject, to_json
from core.settings import ModelSettings
from feedback.split import bucket_of, split_key

ROWS = "rows.parquet"
VOTES_AT_ONCE = 200
# The signal by which users say what the right answer was, by task.
TRUTH_SIGNAL = {"classify": "label", "generate": "correction"}


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt with its right answer: whose it was, in which bucket it fell, and the vote that gave the answer.

    `label` is one of the model's labels, or the text that the answer should have been. `signal` is `label`,
    `correction`, or `confirmation` for a thumbs-up on the answer that now is the right one.
    """

    interaction_id: str
    feedback_id: str
    user: str
    bucket: str
    prompt: Prompt
    label: str
    signal: str = "label"


@dataclass(frozen=True, slots=True)
class Report:
    """Content of a snapshot and what was left out, by reason.

    `signals` counts all feedback by type, `by_signal` the rows made of it and their users.
    """

    rows: dict[str, int]
    users: dict[str, int]
    labels: dict[str, int]
    signals: dict[str, int]
    by_signal: dict[str, dict[str, int]]
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


def curate(votes: Iterable[dict[str, Any]], settings: ModelSettings) -> tuple[list[Row], Counter[str]]:
    """Rows from joined votes (by time), and how many were left out for which reason. A pure function.

    A label makes a row, or a correction with `task: generate`. In the train bucket only, a thumbs-up on an answer
    without a label also makes a row. Held-out truth is only what users wrote, never a model's answer.
    """
    left_out: Counter[str] = Counter()
    says = TRUTH_SIGNAL[settings.task]
    newest: dict[tuple[str, str, str], Row | None] = {}
    for vote in votes:
        if vote["type"] not in (says, "thumbs"):
            continue
        place = (vote["type"], vote["interaction_id"], vote["voter"])
        row, reason = _row(vote, settings)
        if reason:
            left_out[reason] += 1
        if place in newest and vote["type"] == says and row:
            left_out[f"replaced by the voter's later {says}"] += newest[place] is not None
        if row or vote["type"] == "thumbs":
            newest[place] = row
    labelled = {interaction for kind, interaction, _ in newest if kind == says}
    rows = [row for row in newest.values() if row and (row.signal == says or row.interaction_id not in labelled)]
    rows.sort(key=lambda row: row.feedback_id)
    judged = {dedup_key(row.prompt) for row in rows if row.bucket != "train"}
    kept = [row for row in rows if row.bucket != "train" or dedup_key(row.prompt) not in judged]
    left_out["same text as one kept to judge by"] += len(rows) - len(kept)
    return kept, +left_out


def _row(vote: dict[str, Any], settings: ModelSettings) -> tuple[Row | None, str]:
    """The row that one vote makes, or why it makes none; thumbs that confirm nothing need no reason."""
    thumbs = vote["type"] == "thumbs"
    if thumbs and (vote["value"] != "true" or not settings.retrain.confirmations):
        return None, ""
    said = vote["answer"] or "" if thumbs else str(json.loads(vote["value"]))
    label = _right_answer(said.strip(), settings)
    prompt = from_request(vote["endpoint"], json.loads(vote["request"])) if vote["request"] else None
    key = split_key(vote["user_id"], vote["conversation_id"], vote["interaction_id"])
    bucket = bucket_of(key, train=settings.split.train, dev=settings.split.dev)
    if thumbs and (label is None or prompt is None or bucket != "train"):
        return None, ""
    if label is None:
        return None, "not one of the model's labels" if settings.labels else "an empty text"
    if prompt is None:
        return None, "the prompt is not kept, or not text alone"
    signal = "confirmation" if thumbs else vote["type"]
    return Row(vote["interaction_id"], vote["id"], key, bucket, prompt, label, signal), ""


def _right_answer(said: str, settings: ModelSettings) -> str | None:
    """The label as the settings write it, or the text itself where the model generates."""
    if settings.task == "generate":
        return said or None
    return {label.strip().lower(): label for label in settings.labels}.get(said.lower())


def dedup_key(prompt: Prompt) -> str:
    """Return the subject of a prompt without case and extra spaces. Equal keys mean equal texts."""
    return " ".join(subject(prompt).lower().split())


def create_snapshot(
    store: Store, model: str, settings: ModelSettings, *, run_id: str, folder: Path, clock: Clock
) -> Snapshot:
    """Makes the snapshot of everything known now, on disk and in the store; the same rows give the same one."""
    held: Counter[str] = Counter()
    rows, left_out = curate(_trusted(store, model, held), settings)
    left_out += held
    signals = {row["type"]: row["n"] for row in feedback.by_type(store, model=model)}
    report = Report(
        rows=dict(Counter(row.bucket for row in rows)),
        users=dict(Counter(bucket for _, bucket in {(row.user, row.bucket) for row in rows})),
        labels=dict(Counter(row.label for row in rows)),
        signals=signals,
        by_signal={
            signal: {
                "rows": sum(row.signal == signal for row in rows),
                "users": len({row.user for row in rows if row.signal == signal}),
            }
            for signal in sorted({row.signal for row in rows})
        },
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
        snapshots.add(
            transaction,
            hash=name,
            model=model,
            run_id=run_id,
            time=clock(),
            path=str(target),
            report=json.dumps(asdict(report)),
        )
        if not snapshots.has_rows(transaction, snapshot=name):
            snapshots.add_rows(
                transaction,
                [
                    {
                        "snapshot": name,
                        "interaction_id": row.interaction_id,
                        "feedback_id": row.feedback_id,
                        "bucket": row.bucket,
                    }
                    for row in rows
                ],
            )
    return Snapshot(name, target, tuple(rows), report)


def _trusted(store: Store, model: str, held: Counter[str]) -> Iterator[dict[str, Any]]:
    """Votes that no quarantine holds, by time; each comes with a whole request, so never all at once."""
    for votes in feedback.label_vote_batches(store, VOTES_AT_ONCE, model=model):
        for vote in votes:
            if vote["quarantined"]:
                held["in quarantine"] += 1
            else:
                yield vote


def _plain(row: Row) -> dict[str, str]:
    return {
        "interaction_id": row.interaction_id,
        "feedback_id": row.feedback_id,
        "user": row.user,
        "bucket": row.bucket,
        "prompt": to_json(row.prompt),
        "label": row.label,
        "signal": row.signal,
    }


def _write(rows: Sequence[Row], report: Report, target: Path) -> None:
    scratch = target.with_suffix(".part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    names = [field.name for field in fields(Row)]
    schema = pa.schema([(name, pa.string()) for name in names])
    pq.write_table(pa.Table.from_pylist([_plain(row) for row in rows], schema=schema), scratch / ROWS)
    (scratch / "report.json").write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")
    os.rename(scratch, target)


def read_rows(path: Path) -> list[Row]:
    """The rows of a snapshot's folder."""
    return [Row(**(entry | {"prompt": from_json(entry["prompt"])})) for entry in pq.read_table(path / ROWS).to_pylist()]


def load_snapshot(store: Store, name: str) -> Snapshot:
    """A snapshot that was taken before. Raises IntegrityFailed when its folder is gone."""
    found = snapshots.find(store, hash=name)
    if found is None or not (Path(found.path) / ROWS).is_file():
        raise IntegrityFailed(f"The snapshot {name[:12]} is not on disk any more.", hint="Start a new run.")
    path = Path(found.path)
    return Snapshot(name, path, tuple(read_rows(path)), Report(**json.loads(found.report)))
