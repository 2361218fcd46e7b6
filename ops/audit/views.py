"""What API and console show of the audit log."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, get_args

from core.acts import Act
from core.audit_log import Outcome
from core.db import audit_log as table
from core.db.audit_log import Filter
from core.errors import InputError
from ops.audit.recorder import AuditRecorder
from ops.ledger_verifier import LedgerWatch

OUTCOMES: tuple[str, ...] = get_args(Outcome)
# Acts of one group, such as `keys`, can be selected by their first word.
GROUPS = tuple(sorted({name.partition(".")[0] for name in Act if "." in name}))


def wanted(
    *,
    act: str | None,
    actor: str | None,
    model: str | None,
    outcome: str | None,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
) -> Filter:
    """Which rows; an empty text filters nothing. Raises InputError for an act or an outcome that there is not."""
    if act and act not in (*Act, *GROUPS):
        raise InputError(f"act: {act[:40]!r} is no act.", hint=f"Take one of: {', '.join((*GROUPS, *Act))}.")
    if outcome and outcome not in OUTCOMES:
        raise InputError(f"outcome: {outcome[:40]!r} is no outcome.", hint=f"Take one of: {', '.join(OUTCOMES)}.")
    return Filter(act or None, actor or None, model or None, outcome or None, since, until, before)


def rows(recorder: AuditRecorder, found: Filter, limit: int) -> list[dict[str, Any]]:
    """Rows, newest first, with those that still wait to be written."""
    recorder.try_flush(all_of_them=True)
    return table.page(recorder.store, found, limit=limit)


def chain(recorder: AuditRecorder, watch: LedgerWatch, *, whole: bool) -> dict[str, Any]:
    """Whether the log is whole and can be written, checked from its first row or on from the last check."""
    if whole:
        watch.walk()
        return watch.last() | {"failing": recorder.failing}
    return watch.report() | {"failing": recorder.failing}


def state(recorder: AuditRecorder, watch: LedgerWatch) -> dict[str, Any]:
    """Whether the log is whole and can be written, checked on from the last check; no page waits for the first one."""
    found = watch.last() if watch.last()["checked"] is None else watch.report()
    return found | {"failing": recorder.failing}


def as_dict(found: Filter) -> dict[str, Any]:
    """A filter as pages show it."""
    return asdict(found)
