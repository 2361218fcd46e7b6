"""The audit log: an append-only, hash-chained log of acts, for what the ledger does not hold.

It has who, from where, what and with which outcome, and never a secret or a text.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from core import hash_chain
from core.acts import Act
from core.chain_head import HeadFile
from core.db import audit_log as table
from core.db.decisions import LedgerHead
from core.db.retention import Piece
from core.db.store import Database, Row, Store, Transaction
from core.hash_chain import EMPTY, GENESIS, BrokenRow, ChainReport, canonical, hash_row

Outcome = Literal["ok", "refused", "failed"]
HEAD = HeadFile(
    "audit.head",
    "audit log",
    table.head,
    lambda db, seq: table.hash_at(db, seq=seq),
    logging.DEBUG,
    lambda db: begins if isinstance(begins := begins_after(db), LedgerHead) else None,
)
ROWS_AT_ONCE = 2000
LONGEST_TEXT = 200
# Who deletes rows of the log by age.
RETENTION = "retention"
# What a row of `audit.expire` is about: number and hash of the last deleted row.
MARKER = re.compile(r"([0-9]{1,18}) ([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row before it is hashed.

    `status` is the HTTP status, 0 for an act without a request. `actor` is a key's name with its id, as in the ledger;
    empty if no key was valid. `address` is the client's. `route` is the method and the path with its placeholders.
    `thing` is the id of what the act is about. `n` counts equal acts that one row stands for, since `time`.
    """

    time: datetime
    act: Act
    outcome: Outcome = "ok"
    status: int = 0
    actor: str = ""
    address: str = ""
    route: str = ""
    model: str | None = None
    thing: str = ""
    n: int = 1
    request_id: str = ""

    def row(self) -> Row:
        """The columns of its row without number and hash."""
        columns = {name: plain(value) if isinstance(value, str) else value for name, value in asdict(self).items()}
        columns["object"] = columns.pop("thing")
        return columns | {"act": str(self.act), "time": self.time.astimezone(UTC)}


def plain(text: str) -> str:
    """A text as one short line that the store can hold."""
    return "".join(c if c.isprintable() else "?" for c in text[:LONGEST_TEXT])


def append(transaction: Transaction, entries: Sequence[Entry]) -> None:
    """Append entries within the caller's transaction."""
    if not entries:
        return
    head = table.head(transaction) or LedgerHead(0, GENESIS)
    rows = []
    for entry in entries:
        row = entry.row()
        head = LedgerHead(head.seq + 1, hash_row(head.hash, _body(row)))
        rows.append(row | {"seq": head.seq, "hash": head.hash})
    table.append(transaction, rows)
    HEAD.record(transaction, head)


def _body(row: Row) -> str:
    hashed = {name: value for name, value in row.items() if name not in ("seq", "hash")}
    return canonical(hashed | {"time": row["time"].isoformat()})


def expire(transaction: Transaction, piece: Piece) -> int:
    """Delete the oldest rows, those of a piece, and write down where the log begins now. Returns how many they were."""
    last = table.last_before(transaction, until=piece.until, before=piece.before, now=piece.now)
    if last is None:
        return 0
    begins = f"{last.seq} {last.hash}"
    append(transaction, [Entry(piece.now, Act.AUDIT_EXPIRE, actor=RETENTION, thing=begins)])
    return table.delete_through(transaction, seq=last.seq)


def begins_after(db: Database) -> LedgerHead | BrokenRow:
    """The number and the hash of the last row that was deleted by age, or the row that must say so and does not."""
    marker = table.newest_of(db, act=Act.AUDIT_EXPIRE)
    if marker is None:
        return LedgerHead(0, GENESIS)
    found = MARKER.fullmatch(marker["object"] or "")
    if found is None or not 0 < int(found[1]) < marker["seq"]:
        return BrokenRow(marker["seq"], Act.AUDIT_EXPIRE, "it must say which rows were deleted, and cannot be read.")
    return LedgerHead(int(found[1]), found[2])


def verify_store(store: Store, *, after: ChainReport = EMPTY) -> ChainReport:
    """Check the audit log in the store, from its beginning or from where another check ended.

    It begins after the last row that was deleted by age. The head in the file next to the store must be in it.
    """
    begins = begins_after(store)
    if isinstance(begins, BrokenRow):
        return ChainReport(False, 0, GENESIS, f"Row {begins.seq} ({begins.id}): {begins.fault}", begins)
    report = HEAD.verified(store, lambda: _verify(store, begins, after))
    if not report.ok and begins_after(store) != begins:  # rows were deleted by age during the check
        return verify_store(store)
    if report.ok and begins.seq:
        deleted = f"{report.reason} Rows up to {begins.seq} were deleted by age."
        return replace(report, reason=deleted)
    return report


def _verify(store: Store, begins: LedgerHead, after: ChainReport) -> ChainReport:
    start = after if after.rows >= begins.seq else ChainReport(True, begins.seq, begins.hash, "")
    return hash_chain.verify(_rows_after(store, start), None, after=start, fault_of=lambda _: "")


def _rows_after(store: Store, start: ChainReport) -> Iterator[dict[str, Any]]:
    seq, previous = start.rows, start.head
    while rows := table.after(store, seq=seq, limit=ROWS_AT_ONCE):
        for row in rows:
            yield row | {"id": row["act"], "body": _body(row), "previous_hash": previous}
            seq, previous = row["seq"], row["hash"]
