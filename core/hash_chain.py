"""Hash chains: logs in which each row has a hash over the row before. The ledger and the audit log are two of them."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from core.errors import InputError

GENESIS = "0" * 64
SHORTEST_HEAD = 16


def canonical(body: dict[str, Any]) -> str:
    """The JSON of a row with sorted keys and no spaces: the text that is hashed."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_row(previous_hash: str, body: str) -> str:
    """Return the hash of a row: SHA-256 over the hash of the row before and the row's own text."""
    return hashlib.sha256(f"{previous_hash}\n{body}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """The first row that does not fit: its number, its id, and what is wrong with it."""

    seq: int
    id: str
    fault: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Whether a chain is whole and, for the ledger, the routes are its; if not, which row broke it and how.

    `rows` is the number of the last row, `head` the hash of the last row that fits. `broken` names the first row that
    does not fit. `head_at` is the number of the row with the requested hash. It is None without a requested hash or if
    no row has it.
    """

    ok: bool
    rows: int
    head: str
    reason: str
    broken: BrokenRow | None = None
    head_at: int | None = None


EMPTY = ChainReport(True, 0, GENESIS, "0 rows.")
# What else is wrong with a row whose hash is right; empty if nothing is.
FaultOfRow = Callable[[dict[str, Any]], str]


def verify(
    rows: Iterable[dict[str, Any]], head: str | None, *, after: ChainReport, fault_of: FaultOfRow
) -> ChainReport:
    """Check the rows (seq, id, body, previous_hash, hash, by seq) that follow those of `after`.

    A chain whose last rows were deleted is still consistent. A `head` that was once sent out finds this: it proves
    that the rows up to it are unchanged. `head` is the whole hash, or at least its first SHORTEST_HEAD characters.
    """
    previous, count, head_at = after.head, after.rows, after.head_at
    for row in rows:
        count += 1
        fault = _fault(row, previous, count) or fault_of(row)
        if fault:
            broken = BrokenRow(row["seq"], row["id"], fault)
            return ChainReport(False, count, previous, f"Row {row['seq']} ({row['id']}): {fault}", broken, head_at)
        previous = row["hash"]
        if head is not None and previous.startswith(head):
            head_at = row["seq"]
    whole = f"{count} rows, each follows from the one before."
    if head is None or head == GENESIS:  # the head of a chain without rows precedes every row
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
    return ""
