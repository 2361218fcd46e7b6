"""Backups: one tar file with everything that control owns, made while everything runs.

It owns what belongs to a backup, its manifest, and the order that makes it whole: spools first, then the store, so
that a record is in one of the two at least. Secrets are in none of it: keys are hashes, targets fingerprints.
Putting one back is `ops/backup/restore.py`'s business.
"""

import hashlib
import itertools
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastapi.responses import StreamingResponse

from core import ledger_head
from core.acts import Act, act
from core.clock import Clock
from core.db import alarms, erasures, snapshots, versions
from core.db.decisions import LedgerHead
from core.db.store import Store
from core.errors import Conflict, LedgerHeadBroken, LoraLoopError, NotReady
from core.ledger import verify_store
from core.route_list import RouteList
from core.settings import Settings
from core.spool import SUFFIX

FORMAT = 1
MANIFEST = "manifest.json"
STORE = "loraloop.duckdb"
SETTINGS = "settings.json"
FOLDERS = ("adapters", "snapshots", "gateways")
STAGING = "backup.part"
CHUNK = 1024 * 1024
# Of the store's size, what must be free for its copy.
SPACE_FACTOR = 1.2


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a backup: where it is now, how many of its bytes belong to it, and their SHA-256."""

    path: Path
    size: int
    sha256: str

    def pieces(self) -> Iterator[bytes]:
        """Its bytes."""
        left = self.size
        with self.path.open("rb") as file:
            while left and (piece := file.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece


def part_of(path: Path, size: int) -> Part:
    """The first `size` bytes of a file; a spool's segment may grow during the backup."""
    digest = hashlib.sha256()
    for piece in Part(path, size, "").pieces():
        digest.update(piece)
    return Part(path, size, digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Manifest:
    """The first file of a backup: its time, the ledger's head, and every other file's size and SHA-256.

    `ledger_fault` says what was wrong with the ledger when the backup was made; it is empty if nothing was.
    """

    format: int
    made: str
    ledger_rows: int
    ledger_head: str
    files: dict[str, dict[str, Any]]
    ledger_fault: str = ""

    def to_json(self) -> bytes:
        """The bytes that the backup holds."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()


class Backups:
    """Makes backups, one at a time."""

    def __init__(self, *, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._busy = threading.Lock()

    def make(self) -> tuple[int, Iterator[bytes]]:
        """A backup's size in bytes and its bytes. Raises Conflict during another, NotReady if the disk is full."""
        stream = self._stream()
        # From its first piece on the stream cleans up behind itself, even if nobody reads it to its end.
        return int(next(stream)), stream

    def _stream(self) -> Iterator[bytes]:
        """The size as a number, and then the tar file piece by piece."""
        if not self._busy.acquire(blocking=False):
            raise Conflict("A backup is being made already.", hint="Wait until it is done.")
        staging, is_whole = self._settings.data / STAGING, False
        try:
            shutil.rmtree(staging, ignore_errors=True)  # of a control that was killed
            staging.mkdir()
            recorded = _recorded(self._store)
            parts = {name: part_of(path, size) for name, path, size in self._collect(staging)}
            made = self._manifest(staging / STORE, parts, recorded)
            manifest = made.to_json()
            sizes = {MANIFEST: len(manifest)} | {name: part.size for name, part in parts.items()}
            erasures.add_backup(self._store, time=self._clock(), ledger_head=made.ledger_head, size=sum(sizes.values()))
            yield b"%d" % sum(_padded(size) + tarfile.BLOCKSIZE for size in (*sizes.values(), tarfile.BLOCKSIZE))
            contents = itertools.chain([iter([manifest])], (part.pieces() for part in parts.values()))
            for (name, size), content in zip(sizes.items(), contents, strict=True):
                yield _head(name, size)
                yield from content
                yield bytes(_padded(size) - size)
            # Before the last piece: a caller that has it may leave before this continues.
            is_whole = True
            self._record(None)
            yield bytes(2 * tarfile.BLOCKSIZE)
        except GeneratorExit:
            if not is_whole:
                self._record("the caller ended the connection before its end.")
            raise
        except Exception as error:
            self._record(error.message if isinstance(error, LoraLoopError) else f"{type(error).__name__}.")
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            self._busy.release()

    def _record(self, failure: str | None) -> None:
        """Keep for an alarm why a backup failed, or that it did not. A full disk keeps nothing: it is `disk_low`."""
        with suppress(Exception), self._store.transaction() as transaction:
            alarms.forget_backup_failures(transaction)
            if failure is not None:
                alarms.add_backup_failure(transaction, time=self._clock(), reason=failure)

    def _collect(self, staging: Path) -> Iterator[tuple[str, Path, int]]:
        """(name, path, size) of every file, linked under `staging` so that it stays during the backup."""
        data = self._settings.data
        for segment in sorted(data.glob(f"gateways/*/spool/*{SUFFIX}")):
            yield _held(segment, staging, str(segment.relative_to(data)))
        self._require_space(data)
        self._store.copy_to(staging / STORE)
        yield STORE, staging / STORE, (staging / STORE).stat().st_size
        for kind, paths in (("adapters", versions.folders(self._store)), ("snapshots", snapshots.folders(self._store))):
            for path in paths:
                folder = Path(path)
                for file in sorted(folder.rglob("*")):
                    if file.is_file():
                        yield _held(file, staging, f"{kind}/{folder.name}/{file.relative_to(folder)}")
        settings = staging / SETTINGS
        settings.write_text(self._settings.model_dump_json(indent=1, exclude={"keys"}), encoding="utf-8")
        yield SETTINGS, settings, settings.stat().st_size

    def _require_space(self, data: Path) -> None:
        wanted = sum(file.stat().st_size for file in data.glob(f"{STORE}*")) * SPACE_FACTOR
        free = shutil.disk_usage(data).free
        if free < wanted:
            raise NotReady(
                f"The copy of the store needs {wanted / 1e9:.1f} GB and {free / 1e9:.1f} GB are free.",
                hint=f"Free space on the disk of {data}.",
            )

    def _manifest(self, copy: Path, parts: dict[str, Part], recorded: LedgerHead | str | None) -> Manifest:
        store = Store(copy, copy_first=False)
        try:
            ledger = verify_store(store)
            fault = recorded if isinstance(recorded, str) else ledger_head.fault_of(recorded, store)
            if not fault and not ledger.ok:
                fault = ledger.reason
        finally:
            store.close()
        files = {name: {"size": part.size, "sha256": part.sha256} for name, part in parts.items()}
        return Manifest(FORMAT, self._clock().isoformat(), ledger.rows, ledger.head, files, fault)


def _recorded(store: Store) -> LedgerHead | str | None:
    """The head next to the store, before the copy is made; a sentence if it cannot be read."""
    try:
        return ledger_head.read(ledger_head.beside(store.path))
    except LedgerHeadBroken as error:
        return str(error)


def _held(file: Path, staging: Path, name: str) -> tuple[str, Path, int]:
    """A second name for a file, or a copy where the disk has no second names."""
    held = staging / name
    held.parent.mkdir(parents=True, exist_ok=True)
    size = file.stat().st_size
    try:
        os.link(file, held)
    except OSError:
        shutil.copyfile(file, held)
    return name, held, size


def _padded(size: int) -> int:
    return size + -size % tarfile.BLOCKSIZE


def _head(name: str, size: int) -> bytes:
    head = tarfile.TarInfo(name)
    head.size, head.mode = size, 0o600
    return head.tobuf(tarfile.GNU_FORMAT)


def create_router(backups: Backups) -> RouteList:
    """The route that answers with a backup."""
    router = RouteList(prefix="/api")

    @router.post("/backup")
    @act(Act.BACKUP_MAKE)
    def backup() -> StreamingResponse:
        """Make a backup and send it, a tar file whose first entry is its manifest."""
        size, stream = backups.make()
        return StreamingResponse(stream, media_type="application/x-tar", headers={"Content-Length": str(size)})

    return router
