"""Erase one user: rows, dead letters and snapshots. Each step can be repeated after a crash.

Files of versions and runs, the ledger and the store's own file are the work of `ops/erasures.py`.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from core.clock import new_id
from core.db import erasures, snapshots, spools
from core.db.spools import Position
from core.db.store import Database, Store, Transaction
from core.errors import InputError
from core.prompts import Prompt, from_json
from feedback.pairs import count_pairs
from feedback.report_counts import count_both, count_rows, count_users
from feedback.snapshot_files import Tables, read_unchecked, write_files
from feedback.tombstones import hash_of

LONGEST_USER = 512
# Why rows of a report are left out after an erasure.
ERASED = "of an erased user"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure erases, and what it cannot. It has the hash of the user's name, never the name.

    `counts` has the rows by kind. `snapshots` maps old hashes to new ones. `versions` learnt from the user, and
    `holdouts` judged with the user. `backups` are older than the erasure, and `ledger_rows` name the user: neither
    changes. `segments` are files of gateways from before the erasure that were still there when it ended.
    """

    user_hash: str
    key: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    snapshots: dict[str, str | None] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    holdouts: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    backups: list[str] = field(default_factory=list)
    ledger_rows: list[int] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, text: str) -> "Receipt":
        """The inverse of `to_json`."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """The receipt as the store keeps it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Request:
    """Whom to erase: a user of every key, or of one key; who asked for it, and why."""

    user: str
    key: str | None = None
    actor: str = ""
    comment: str = ""


class _Undone(Exception):
    """Rolls back what a preview wrote."""


def check(request: Request) -> Request:
    """The request, if it names a user. Raises InputError."""
    if not request.user or len(request.user) > LONGEST_USER:
        raise InputError(f"user: name a user with 1 to {LONGEST_USER} characters.", field="user")
    return request


def preview(store: Store, request: Request, now: datetime) -> Receipt:
    """What an erasure would erase: it begins and is rolled back, so that the counts are those of the real one."""
    found = Receipt(hash_of(request.user))
    try:
        with store.transaction() as transaction:
            _, found = _begin(transaction, request, now)
            raise _Undone
    except _Undone:
        return found


def begin(store: Store, request: Request, now: datetime) -> str:
    """Record an erasure as pending, so that it continues after a crash; returns its id."""
    with store.transaction() as transaction:
        return _begin(transaction, request, now)[0]


def _begin(transaction: Transaction, request: Request, now: datetime) -> tuple[str, Receipt]:
    check(request)
    identity, user_hash = new_id("erase"), hash_of(request.user)
    erasures.add(
        transaction,
        id=identity,
        time=now,
        user=request.user,
        user_hash=user_hash,
        key=request.key,
        actor=request.actor,
        comment=request.comment,
    )
    found = _receipt(transaction, identity, request, now)
    erasures.set_receipt(transaction, id=identity, receipt=found.to_json())
    return identity, found


def _receipt(transaction: Transaction, identity: str, request: Request, now: datetime) -> Receipt:
    parts = erasures.snapshot_rows(transaction, id=identity)
    names = sorted({part["snapshot"] for part in parts})
    buckets = {(part["snapshot"], part["bucket"]) for part in parts}
    letters = sum(1 for _ in _letters(transaction, request.user, erasures.ids(transaction, id=identity)))
    counts = erasures.counts(transaction, id=identity) | {
        "dead_letters": letters,
        "snapshot_rows": sum(part["n"] for part in parts),
    }
    quoted = json.dumps(request.user, ensure_ascii=False)
    return Receipt(
        user_hash=hash_of(request.user),
        key=request.key,
        counts=counts,
        models=erasures.models_of(transaction, id=identity),
        snapshots=dict.fromkeys(names),
        versions=[
            f"{row['model']}@{row['version']}"
            for row in erasures.versions_of(transaction, names)
            if (row["snapshot"], "train") in buckets
        ],
        holdouts=sorted(
            {
                f"{row['model']} {row['bucket']}"
                for row in erasures.holdouts_of(transaction, names)
                if (row["snapshot"], row["bucket"].partition(".")[0]) in buckets
            }
        ),
        runs=erasures.runs_of(transaction, names),
        backups=[row["time"].isoformat() for row in erasures.backups_before(transaction, time=now)],
        ledger_rows=erasures.naming_decisions(transaction, quoted=quoted, said=f"user {request.user}"),
    )


def erase_rows(store: Store, identity: str, user: str, key: str | None, time: datetime) -> None:
    """Erase the user's rows and dead letters. Holdouts and quarantines name users of every key."""
    with store.transaction() as transaction:
        _erase_letters(transaction, user, erasures.ids(transaction, id=identity))
        erasures.erase_rows(transaction, id=identity, time=time)
        if key is None:
            erasures.erase_name(transaction, user=user, user_hash=hash_of(user))


def _erase_letters(transaction: Transaction, user: str, ids: set[str]) -> None:
    for at, payload in list(_letters(transaction, user, ids)):
        if payload is None:
            spools.delete_dead_letter(transaction, at)
        else:
            # The reason may quote what was refused.
            spools.set_dead_letter(transaction, at, reason="Records of an erased user were here.", payload=payload)


def _letters(db: Database, user: str, ids: set[str]) -> Iterator[tuple[Position, bytes | None]]:
    """Dead letters with records of a user, each with what remains of it, or None if nothing does."""
    for at in spools.dead_letters(db):
        row = spools.dead_letter(db, at)
        if row is not None:
            remains = without_user(row["payload"], user, ids)
            if remains != row["payload"]:
                yield at, remains


def without_user(payload: bytes, user: str, ids: set[str]) -> bytes | None:
    """A frame without the records of a user or about these ids; None if nothing remains.

    Nothing remains of bytes that are no JSON and have the user's name or one of the ids in them.
    """
    try:
        parts = msgspec.json.decode(payload, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        named = user.encode() in payload or any(one.encode() in payload for one in ids)
        return None if named else payload
    if isinstance(parts, dict):
        return None if _is_of(parts, user, ids) else payload
    kept = [bytes(part) for part in parts if not _is_of(_fields(part), user, ids)]
    if len(kept) == len(parts):
        return payload
    return b"[" + b",".join(kept) + b"]" if kept else None


def _fields(part: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(part, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return {}


def _is_of(record: dict[str, msgspec.Raw], user: str, ids: set[str]) -> bool:
    said = {name: bytes(record[name]) for name in ("user", "id", "interaction_id", "feedback_id") if name in record}
    texts = {name: json.loads(value) for name, value in said.items()}
    if texts.get("user") is not None:
        return texts["user"] == user
    return any(isinstance(text, str) and text in ids for text in texts.values())


def rewrite_snapshots(store: Store, identity: str, folder: Path) -> dict[str, str | None]:
    """Write the snapshots again without the user's rows; returns the new hash of each old one.

    A folder that no snapshot in the store has is deleted: a crash left it.
    """
    with store.transaction() as transaction:
        receipt = Receipt.read(_stored(transaction, identity))
    for name in sorted(old for old, new in receipt.snapshots.items() if new is None):
        receipt = replace(receipt, snapshots=receipt.snapshots | {name: _rewrite(store, identity, name, receipt)})
    known = {Path(path).resolve() for path in snapshots.folders(store)}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.resolve() not in known:
            shutil.rmtree(path)
    return receipt.snapshots


def _stored(db: Database, identity: str) -> str:
    row = erasures.find(db, id=identity)
    assert row is not None, "an erasure that is under way is in the store"
    return row["receipt"]


def _rewrite(store: Store, identity: str, name: str, receipt: Receipt) -> str:
    """Write one snapshot again; returns its new hash, or the old one if its folder is gone."""
    with store.transaction() as transaction:
        stored = erasures.snapshots_of(transaction, [name])
        ids = erasures.ids(transaction, id=identity)
    new, reports = name, {row["run_id"]: row["report"] for row in stored}
    path = Path(stored[0]["path"]) if stored else None
    tables = read_unchecked(path) if path else None
    if path is not None and tables is not None:
        erased, left = split_tables(tables, ids)
        new = left.content_hash()
        reports = {run: json.dumps(report_without(json.loads(text), erased, left)) for run, text in reports.items()}
        path = path.with_name(new)
        write_files(left, json.loads(next(iter(reports.values()))), path)
    with store.transaction() as transaction:
        erasures.erase_snapshot_rows(transaction, id=identity, snapshot=name)
        if new != name:
            is_known = snapshots.has_rows(transaction, snapshot=new)
            erasures.rename_snapshot_rows(transaction, old=name, new=new, is_known=is_known)
            erasures.replace_snapshot(transaction, old=name, new=new, path=str(path), reports=reports)
        done = replace(receipt, snapshots=receipt.snapshots | {name: new})
        erasures.set_receipt(transaction, id=identity, receipt=done.to_json())
    return new


def split_tables(tables: Tables, ids: set[str]) -> tuple[Tables, Tables]:
    """(those of an erasure, others) of a snapshot's rows and pairs, in their order."""
    wanted = sorted(ids)
    theirs = pc.field("interaction_id").isin(wanted) | pc.field("feedback_id").isin(wanted)
    pairs, of_pairs = tables.pairs, theirs | pc.field("other_id").isin(wanted)
    return (
        Tables(tables.rows.filter(theirs), pairs.filter(of_pairs) if pairs else None),
        Tables(tables.rows.filter(~theirs), pairs.filter(~of_pairs) if pairs else None),
    )


def erased_prompts(path: Path, ids: set[str]) -> list[Prompt]:
    """The prompts of an erasure in the rows of a snapshot's folder, none if it is gone."""
    tables = read_unchecked(path)
    if tables is None:
        return []
    return [from_json(text) for text in split_tables(tables, ids)[0].rows["prompt"].to_pylist()]


def report_without(report: dict[str, Any], erased: Tables, left: Tables) -> dict[str, Any]:
    """The report of a snapshot after an erasure: counts of what is left, and the erased rows as left out.

    It has no coverage any more: the names of clusters are words of requests.
    """
    counted = _rows_without(report, erased.rows, left.rows) | _pairs_without(report.get("pairs", {}), erased, left)
    return counted | {"coverage": {}}


def _pairs_without(report: dict[str, Any], erased: Tables, left: Tables) -> dict[str, Any]:
    """The counts of pairs after an erasure, nothing without pairs."""
    if not erased.pairs or left.pairs is None:
        return {}
    left_out = report["left_out"]
    gone = left_out.get(ERASED, 0) + erased.pairs.num_rows
    return {"pairs": report | count_pairs(left.pairs, left_out | {ERASED: gone})}


def _rows_without(report: dict[str, Any], erased: pa.Table, left: pa.Table) -> dict[str, Any]:
    # Only a model that classifies has labels in its report. Answers that users wrote are none.
    of_labels = (
        {"labels": count_rows(left, "label"), "by_class": count_both(left, "label")} if report.get("labels") else {}
    )
    counts = {
        "rows": count_rows(left, "bucket"),
        "users": count_users(left, "bucket"),
        "by_signal": count_both(left, "signal"),
        "left_out": report["left_out"] | {ERASED: _before(report) + erased.num_rows},
    }
    return report | counts | of_labels


def _before(report: dict[str, Any]) -> int:
    return int(report["left_out"].get(ERASED, 0))
