"""Find the users from whom the champion learnt, where the split of users has changed since.

A user's bucket follows from the split alone, so after a change users of the train bucket can be in a holdout.
"""

import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from core.db import routes, runs, snapshots, versions
from core.db.store import Database
from core.errors import IntegrityFailed
from core.settings import ModelSettings
from feedback.snapshot_files import read_tables

log = logging.getLogger(__name__)


def users_of_champion(db: Database, model: str, settings: ModelSettings) -> frozenset[str]:
    """The voters and askers of the champion's training data, as rows name them: they must not judge.

    Nobody if the champion learnt by the same split, by none, or is the base model.
    """
    route = routes.current(db, model=model)
    version = versions.find(db, model=model, version=route["champion"]) if route else None
    run = runs.find(db, id=version["run_id"]) if version and version["run_id"] else None
    if run is None or run["snapshot"] is None:
        return frozenset()
    split = json.loads(run["detail"]).get("settings", {}).get("split", {})
    if not split or (split["train"], split["dev"]) == (settings.split.train, settings.split.dev):
        return frozenset()
    stored = snapshots.find(db, hash=run["snapshot"], run_id=run["id"])
    try:
        tables = read_tables(Path(stored.path)) if stored else None
    except IntegrityFailed as error:
        log.error("%s: users from whom the champion learnt may judge it: %s", model, error)
        return frozenset()
    found = _users(tables.rows, tables.pairs) if tables else frozenset[str]()
    log.warning("%s: the split has changed; %d users from whom the champion learnt do not judge", model, len(found))
    return found


def _users(*tables: pa.Table | None) -> frozenset[str]:
    trained = (table.filter(pc.field("bucket") == "train") for table in tables if table)
    columns = (table[name].to_pylist() for table in trained for name in ("user", "asker"))
    return frozenset(user for column in columns for user in column if user)
