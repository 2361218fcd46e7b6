"""The ledger: an append-only, hash-chained log of decisions."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from core import hash_chain, ledger_head, route_check
from core.db import decisions, routes
from core.db.decisions import LedgerHead
from core.db.store import Store, Transaction
from core.hash_chain import EMPTY, GENESIS, ChainReport, hash_row
from core.records import Decision

# What of a decision is also a column of its row, to search by.
COLUMNS = ("id", "model", "from_version", "to_version", "verdict", "reason", "run_id")
# A row can be tens of kilobytes; the ledger is never in memory whole.
ROWS_AT_ONCE = 500


def canonical(decision: Decision) -> str:
    """The decision as JSON with sorted keys and no spaces: the text that is hashed and stored."""
    body = asdict(decision) | {"time": decision.time.isoformat(), "verdict": str(decision.verdict)}
    return hash_chain.canonical(body)


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


def verify(rows: Iterable[dict[str, Any]], head: str | None = None, *, after: ChainReport = EMPTY) -> ChainReport:
    """Check the rows of the ledger (those of its chain and the plain columns, by seq) that follow those of `after`."""
    return hash_chain.verify(rows, head, after=after, fault_of=_fault)


def _fault(row: dict[str, Any]) -> str:
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
    report = ledger_head.verified(store, lambda: verify(_rows_after(store, after.rows), head, after=after))
    if not report.ok or after.rows:
        return report
    fault = route_check.fault(routes.with_decisions(store))
    return replace(report, ok=False, reason=fault) if fault else report


def _rows_after(store: Store, seq: int) -> Iterator[dict[str, Any]]:
    while rows := decisions.after(store, seq=seq, limit=ROWS_AT_ONCE):
        yield from rows
        seq = rows[-1]["seq"]
