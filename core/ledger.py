"""The ledger: an append-only, hash-chained log of decisions.

It owns how a row is sealed and how the chain is proved; it must not know how a decision was reached.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from core.records import Decision
from core.store import Store, Transaction

GENESIS = "0" * 64
# A row can be tens of kilobytes; the ledger is never in memory whole.
ROWS_AT_ONCE = 500


def canonical(decision: Decision) -> str:
    """The decision as JSON with sorted keys and no spaces: the text that is hashed and stored."""
    body = asdict(decision) | {"time": decision.time.isoformat(), "verdict": str(decision.verdict)}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def seal(previous_hash: str, body: str) -> str:
    """The hash of a row: SHA-256 over the hash of the row before and the row's own text."""
    return hashlib.sha256(f"{previous_hash}\n{body}".encode()).hexdigest()


def append(transaction: Transaction, decision: Decision) -> str:
    """Adds a decision within the caller's transaction and returns its hash, the ledger's new head."""
    head = transaction.rows("ledger_head")
    previous = head[0]["hash"] if head else GENESIS
    body = canonical(decision)
    row_hash = seal(previous, body)
    transaction.run(
        "ledger_append",
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
    return row_hash


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Whether the ledger is whole; if not, which row broke it and how."""

    ok: bool
    rows: int
    head: str
    reason: str


EMPTY = ChainReport(True, 0, GENESIS, "0 rows.")


def verify(rows: Iterable[dict[str, Any]], after: ChainReport = EMPTY) -> ChainReport:
    """Walks the rows (seq, body, previous_hash, hash and the plain columns, by seq) that follow those of `after`."""
    previous, count = after.head, after.rows
    for row in rows:
        count += 1
        fault = _fault(row, previous, count)
        if fault:
            return ChainReport(False, count, previous, f"Row {row['seq']} ({row['id']}): {fault}")
        previous = row["hash"]
    return ChainReport(True, count, previous, f"{count} rows, each follows from the one before.")


def _fault(row: dict[str, Any], previous: str, expected_seq: int) -> str:
    if row["seq"] != expected_seq:
        return f"a row is missing before it; expected number {expected_seq}."
    if row["previous_hash"] != previous:
        return "it does not follow from the row before."
    if seal(previous, row["body"]) != row["hash"]:
        return "its text was changed after it was sealed."
    body = json.loads(row["body"])
    for column in ("id", "model", "from_version", "to_version", "verdict", "reason", "run_id"):
        if body[column] != row[column]:
            return f"its column {column} differs from what was sealed."
    if datetime.fromisoformat(body["time"]) != row["time"]:
        return "its column time differs from what was sealed."
    return ""


def verify_store(store: Store, after: ChainReport = EMPTY) -> ChainReport:
    """Checks the ledger in the store, from its beginning or from where another check ended."""
    report = verify((), after)
    while report.ok:
        rows = store.rows("ledger_after", seq=report.rows, limit=ROWS_AT_ONCE)
        if not rows:
            break
        report = verify(rows, report)
    return report
