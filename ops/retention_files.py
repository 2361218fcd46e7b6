"""Files that have an end: snapshots, folders of runs, what a restore put aside, and damaged segments."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.db import retention
from core.db.store import Row, Store
from core.settings import RetentionSettings
from ops.backup.restore import ASIDE

DAMAGED = "gateways/*/spool/*.bad"
SNAPSHOTS = ("snapshots", "unused_snapshots")


@dataclass(frozen=True, slots=True)
class Item:
    """A file or folder: its kind, the time that counts, and the reason why it stays at any age, if there is one."""

    kind: str
    name: str
    path: Path
    time: datetime
    size: int
    needed: str | None = None

    def is_old(self, settings: RetentionSettings, now: datetime) -> bool:
        """Whether it is older than the setting of its kind, and nothing needs it."""
        days = getattr(settings, self.kind)
        return self.needed is None and days is not None and self.time < now - timedelta(days=days)


def items(store: Store, data: Path) -> list[Item]:
    """Every file and folder that has an end."""
    return [*_snapshots(store), *_runs(store, data), *_others(data)]


def why_needed(snapshot: Row) -> str | None:
    """Why a snapshot stays at any age, None if nothing needs it."""
    if snapshot["unfinished"]:
        return "a run that has not ended uses it"
    if snapshot["live"]:
        return "a version that serves, or that a rollback would restore, learnt from it"
    return "it is the newest of its model" if snapshot["newest"] else None


def _snapshots(store: Store) -> Iterable[Item]:
    for row in retention.snapshots(store):
        path = Path(row["path"])
        if path.is_dir():
            kind = "snapshots" if row["learnt"] else "unused_snapshots"
            yield Item(kind, row["hash"], path, row["time"], _size(path), why_needed(row))


def _runs(store: Store, data: Path) -> Iterable[Item]:
    """Folders of runs. One whose run the store does not have counts from its last change."""
    ends: Mapping[str, datetime | None] = retention.run_ends(store)
    for path in _folders(data / "runs"):
        end = ends.get(path.name, _changed(path))
        needed = "its run has not ended" if end is None else None
        yield Item("runs", path.name, path, end or _changed(path), _size(path), needed)


def _others(data: Path) -> Iterable[Item]:
    for path in data.glob(f"{ASIDE}*"):
        yield Item("restore_copies", path.name, path, _changed(path), _size(path))
    for path in data.glob(DAMAGED):
        yield Item("dead_letters", path.name, path, _changed(path), _size(path))


def delete(store: Store, item: Item) -> None:
    """Delete a file or folder. A snapshot's rows go first, so that a crash leaves a folder and no rows without one."""
    if item.kind in SNAPSHOTS:
        retention.delete_snapshot_rows(store, snapshot=item.name)
    if item.path.is_dir():
        shutil.rmtree(item.path)
    else:
        item.path.unlink(missing_ok=True)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = (one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)
