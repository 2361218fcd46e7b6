"""Versions as people see them: what each one is, and the votes it learnt from that were taken back since."""

from typing import Any

from core.db import erasures, snapshots
from core.db import versions as versions_table
from core.db.store import Store
from core.errors import NotFound

View = dict[str, Any]
# The maximum number of votes that a page lists.
MOST_VOTES = 1000
NONE = {"revoked": 0, "in_quarantine": 0}


def versions(store: Store, model: str) -> list[View]:
    """A model's versions, oldest first, each with the number of its votes that are revoked or in quarantine now.

    A version that no run made has None for both: nothing is known of its training data.
    """
    gone = versions_table.taken_back(store, model=model)
    return [_counted(row, gone) for row in versions_table.of_model(store, model=model)]


def version(store: Store, model: str, number: int) -> View:
    """One version with its votes that are revoked or in quarantine now, and the erasures that name it. Raises NotFound.

    `taken_back` lists up to 1,000 of these votes, in the order in which they were revoked.
    `revoked` is None for those that are in quarantine only.
    """
    found = next((row for row in versions(store, model) if row["version"] == number), None)
    if found is None:
        raise NotFound("version", f"{model}@{number}", hint=f"See: loraloop versions {model}")
    rows = snapshots.taken_back(store, snapshot=found["snapshot"]) if found["snapshot"] else []
    erased = erasures.of_version(store, version=f"{model}@{number}")
    return found | {"taken_back": rows[:MOST_VOTES], "erasures": erased}


def _counted(row: View, gone: dict[int, View]) -> View:
    if row["snapshot"] is None:
        return row | dict.fromkeys(NONE)
    found = gone.get(row["version"], NONE)
    return row | {name: found[name] for name in NONE}
