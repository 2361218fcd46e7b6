"""The ledger: an append-only, hash-chained log of decisions."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from core import ledger_head, route_check
from core.db import decisions, routes
from core.db.decisions import LedgerHead
from core.db.store import Store, Transaction
from core.errors import InputError, LedgerHeadBroken
from core.records import Decision

GENESIS = "0" * 64
SHORTEST_HEAD = 16
# What of a decision is also a column of its row, to search by.
COLUMNS = ("id", "model", "from_version", "to_version", "verdict", "reason", "run_id")
# A row can be tens of kilobytes; the ledger is never in memory whole.
ROWS_AT_ONCE = 500


def canonical(decision: Decision) -> str:
    """The decision as JSON with sorted keys and no spaces: the text that is hashed and stored."""
    body = asdict(decision) | {"time": decision.time.isoformat(), "verdict": str(decision.verdict)}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_row(previous_hash: str, body: str) -> str:
    """Return the hash of a row: SHA-256 over the hash of the row before and the row's own text."""
    return hashlib.sha256(f"{previous_hash}\n{body}".encode()).hexdigest()


def append(transaction: Transaction, decision: Decision) -> str:
    """Adds a decision within the caller's transaction and returns its hash, the ledger's new head."""
    head = decisions.head(transaction)
    previous = head.hash if head else GENESIS
    body = canonical(decision)
    row_hash = hash_row(previous, body)
    decisions.append(
        transaction,
        id=decision.id,
        time=decision.time,
        model=decision.model,
        from_version=decision.from_version,
        to_version=decision.to_version,
        verdict=str(decision.verdict),
        reason=decision.reason,
        run_id=decision.run_id,
        body=body,
        previous_hash=previous,
        hash=row_hash,
    )
    ledger_head.record(transaction, LedgerHead(head.seq + 1 if head else 1, row_hash))
    return row_hash


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """The first row that does not fit: its number, its id, and what is wrong with it."""

    seq: int
    id: str
    fault: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Whether the ledger is whole and the routes are its; if not, which row broke it and how.

    `head` is the hash of the last row that fits. `broken` names the first row that does not fit. `head_at` is the
    number of the row with the requested hash. It is None without a requested hash or if no row has it.
    """

    ok: bool
    rows: int
    head: str
    reason: str
    broken: BrokenRow | None = None
    head_at: int | None = None


EMPTY = ChainReport(True, 0, GENESIS, "0 rows.")


def verify(rows: Iterable[dict[str, Any]], head: str | None = None, *, after: ChainReport = EMPTY) -> ChainReport:
    """Check the rows (seq, body, previous_hash, hash and the plain columns, by seq) that follow those of `after`.

    A chain whose last rows were deleted is still consistent. A `head` that was once sent out finds this: it proves
    that the rows up to it are unchanged. `head` is the whole hash, or at least its first SHORTEST_HEAD characters.
    """
    previous, count, head_at = after.head, after.rows, after.head_at
    for row in rows:
        count += 1
        fault = _fault(row, previous, count)
        if fault:
            broken = BrokenRow(row["seq"], row["id"], fault)
            return ChainReport(False, count, previous, f"Row {row['seq']} ({row['id']}): {fault}", broken, head_at)
        previous = row["hash"]
        if head is not None and previous.startswith(head):
            head_at = row["seq"]
    whole = f"{count} rows, each follows from the one before."
    if head is None or head == GENESIS:  # the head of a ledger without rows precedes every row
        return ChainReport(True, count, previous, whole)
    if head_at is None:
        cut = f"No row has the head {head[:SHORTEST_HEAD]}…: rows were cut off or replaced after it was sent out."
        return ChainReport(False, count, previous, cut)
    return ChainReport(True, count, previous, f"{whole} The requested head is row {head_at}.", None, head_at)


def read_head(text: str) -> str:
    """A head as people paste it. Raises InputError."""
    head = text.strip().lower()
    if not SHORTEST_HEAD <= len(head) <= len(GENESIS) or not set(head) <= set("0123456789abcdef"):
        hint = f"It is {len(GENESIS)} hexadecimal digits; the first {SHORTEST_HEAD} suffice."
        raise InputError(f"{text[:80]!r} is no head of a ledger.", hint=hint)
    return head


def _fault(row: dict[str, Any], previous: str, expected_seq: int) -> str:
    if row["seq"] != expected_seq:
        return f"a row is missing before it; expected number {expected_seq}."
    if row["previous_hash"] != previous:
        return "it does not follow from the row before."
    if hash_row(previous, row["body"]) != row["hash"]:
        return "its text was changed after it was written."
    try:
        body = json.loads(row["body"])
        recorded = {column: body[column] for column in COLUMNS} | {"time": datetime.fromisoformat(body["time"])}
    except (ValueError, KeyError, TypeError):
        return "its text is not a decision."
    different = next((column for column, value in recorded.items() if value != row[column]), None)
    return f"its column {different} differs from its text." if different else ""


def verify_store(store: Store, head: str | None = None, *, after: ChainReport = EMPTY) -> ChainReport:
    """Check the ledger in the store, from its beginning or from where another check ended.

    A `head` that was sent out must be in it, and the head in the file next to the store. A check from the beginning
    also compares the newest route of each model with the one that the newest decision about it recorded.
    """
    try:  # before the rows, because a row is committed before it is recorded
        recorded, fault = ledger_head.read(ledger_head.beside(store.path)), ""
    except LedgerHeadBroken as error:
        recorded, fault = None, str(error)
    report = verify(_rows_after(store, after.rows), head, after=after)
    if not report.ok:
        return report
    fault = fault or ledger_head.fault_of(recorded, store)
    if not fault and not after.rows:
        fault = route_check.fault(routes.with_decisions(store))
    return replace(report, ok=False, reason=fault) if fault else report


def _rows_after(store: Store, seq: int) -> Iterator[dict[str, Any]]:
    while rows := decisions.after(store, seq=seq, limit=ROWS_AT_ONCE):
        yield from rows
        seq = rows[-1]["seq"]
