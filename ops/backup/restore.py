"""Restore: a backup is read, proved, and put back into an empty data folder.

It owns what of a backup is believed: nothing but what its manifest names, byte for byte, and a ledger that is whole.
It must not touch a data folder that somebody uses, nor delete anything of one.
"""

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from core import audit_log, chain_head, ledger_head
from core.acts import Act
from core.audit_log import Entry
from core.clock import new_id
from core.db import console_sessions, routes, snapshots, versions
from core.db.decisions import LedgerHead
from core.db.store import Store
from core.errors import InputError, LedgerHeadBroken
from core.ledger import append, verify_store
from core.records import Decision, Verdict
from core.settings import Settings
from ops.backup.archive import CHUNK, FOLDERS, FORMAT, MANIFEST, SETTINGS, STORE, Manifest

STAGING = "restore.part"
LOCK = "up.lock"
GATEWAYS = "gateways"
# What a file system keeps in its root.
NOT_OURS = ("lost+found",)
ASIDE = "before-restore-"
ANOTHER = "Use another backup."
MANIFEST_BYTES = 256 * 1024 * 1024

Advance = Callable[[int], None]


def _nothing(_: int) -> None:
    """For reading that nobody watches."""


def prove(
    path: Path,
    *,
    into: Path | None = None,
    only: frozenset[str] | None = None,
    advance: Advance = _nothing,
    name: str = "",
) -> Manifest:
    """Reads a backup whole, checks every file against the manifest, and writes them to `into` if that is given.

    With `only`, it writes no other files than these. `advance` is called with the bytes read since the last call.
    Raises InputError that names what does not fit, and calls the backup `name`, by default its path.
    """
    called = Path(name or path)
    try:
        with tarfile.open(path, "r:") as archive:
            return _prove(
                archive, called, lambda file: into / file if into and (not only or file in only) else None, advance
            )
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{called} cannot be read as a backup: {error}.", hint="Is the file whole?") from error


def prove_stream(stream: IO[bytes], name: str) -> Manifest:
    """Reads a backup and checks it like `prove`. Raises InputError that calls it `name`."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as archive:
            return _prove(archive, Path(name), lambda _: None, _nothing)
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{name} cannot be read as a backup: {error}.", hint="Is it whole?") from error


def _prove(archive: tarfile.TarFile, path: Path, target_of: Callable[[str], Path | None], advance: Advance) -> Manifest:
    first = archive.next()
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > MANIFEST_BYTES:
        raise InputError(f"{path} is no backup: it does not begin with {MANIFEST}.")
    manifest = _manifest(_content(archive, first).read(), path)
    left = dict(manifest.files)
    while member := archive.next():
        expected = left.pop(member.name, None)
        if expected is None or not member.isreg() or member.size != expected["size"]:
            raise InputError(f"{path}: {member.name[:200]!r} is not what the manifest says.", hint=ANOTHER)
        if _hash(_content(archive, member), target_of(member.name), advance) != expected["sha256"]:
            raise InputError(f"{path}: {member.name!r} is damaged: its SHA-256 is another.", hint=ANOTHER)
    if left:
        raise InputError(f"{path}: {min(left)!r} is missing, with {len(left) - 1} more.", hint="Is the file whole?")
    return manifest


def _manifest(content: bytes, path: Path) -> Manifest:
    try:
        found = Manifest(**json.loads(content))
        sizes = [int(file["size"]) + len(file["sha256"]) for file in found.files.values()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: its {MANIFEST} cannot be read.") from error
    if found.format != FORMAT:
        raise InputError(f"{path} has format {found.format}; this LoraLoop reads {FORMAT}.", hint="Upgrade LoraLoop.")
    strange = next((name for name in found.files if not _belongs(name)), None)
    if strange is not None or STORE not in found.files or not sizes:
        raise InputError(f"{path}: {strange or STORE!r} {'does not belong into' if strange else 'lacks in'} a backup.")
    return found


def _belongs(name: str) -> bool:
    parts = PurePosixPath(name).parts
    plain = ".." not in parts and not name.startswith("/") and str(PurePosixPath(name)) == name and "\0" not in name
    return plain and (name in (STORE, SETTINGS) or (len(parts) > 2 and parts[0] in FOLDERS))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member)
    assert content is not None, "a regular file has content"
    return content


def _hash(content: IO[bytes], target: Path | None, advance: Advance) -> str:
    digest = hashlib.sha256()
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") if target else open(os.devnull, "wb") as file:
        while piece := content.read(CHUNK):
            digest.update(piece)
            file.write(piece)
            advance(len(piece))
        file.flush()
        if target:
            os.fsync(file.fileno())
    return digest.hexdigest()


def prove_with_ledger(path: Path, *, name: str = "", advance: Advance = _nothing) -> tuple[Manifest, str]:
    """Reads a backup whole like `prove`, and says what is wrong with its ledger; empty if nothing is.

    The store is written to a temporary folder for that. Raises InputError.
    """
    with tempfile.TemporaryDirectory(prefix="loraloop-") as folder:
        manifest = prove(path, into=Path(folder), only=frozenset({STORE}), advance=advance, name=name)
        store = Store(Path(folder) / STORE, copy_first=False)
        try:
            return manifest, ledger_fault(store, manifest)
        finally:
            store.close()


def ledger_fault(store: Store, manifest: Manifest) -> str:
    """What is wrong with the ledger of a backup; empty if nothing is."""
    report = verify_store(store, manifest.ledger_head)
    return manifest.ledger_fault or ("" if report.ok else report.reason)


def broken_ledger(path: Path, fault: str) -> InputError:
    """The error for a backup whose ledger is broken."""
    hint = f"{ANOTHER} If there is none, restore this one with --broken-ledger."
    return InputError(f"{path}: its ledger is broken. {fault}", hint=hint)


def occupied(data: Path) -> list[str]:
    """The names in a data folder, except those that earlier restores put aside."""
    names = [entry.name for entry in data.iterdir()] if data.is_dir() else []
    return sorted(name for name in names if name not in (LOCK, STAGING, *NOT_OURS) and not name.startswith(ASIDE))


@dataclass(frozen=True, slots=True)
class Restored:
    """Who restores a backup and when, and whether a broken ledger is accepted."""

    time: datetime
    actor: str
    accept_broken_ledger: bool = False


def restore(path: Path, settings: Settings, by: Restored, advance: Advance = _nothing) -> tuple[Manifest, Path | None]:
    """Replaces what the data folder holds with a backup; returns where that was put aside, if there was any.

    Nothing is moved before all is proved. The ledger gets a `restored` row for each model. The caller holds the lock
    of the folder. Raises InputError or NotReady.
    """
    data, staging = settings.data, settings.data / STAGING
    shutil.rmtree(staging, ignore_errors=True)  # of a restore that was killed
    staging.mkdir(parents=True)
    try:
        manifest = prove(path, into=staging, advance=advance)
        _settle(staging / STORE, settings, manifest, path, by)
        _require_unused(data / STORE)
        aside = _put_aside(data, by.time)
        _add_spools(staging / GATEWAYS, data / GATEWAYS)
        # The store comes last: without it nothing of the rest counts.
        for entry in sorted(staging.iterdir(), key=lambda entry: entry.name == STORE):
            _move(entry, data / entry.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest, aside


def _settle(file: Path, settings: Settings, manifest: Manifest, path: Path, by: Restored) -> None:
    """Proves the ledger, says in it that it was restored, and lets the store know where its folders are from now on."""
    store = Store(file, copy_first=False)  # the backup is the copy
    try:
        fault = ledger_fault(store, manifest)
        if fault and not by.accept_broken_ledger:
            raise broken_ledger(path, fault)
        data = settings.data.resolve()
        replaced = _recorded(ledger_head.beside(settings.data / STORE))
        with store.transaction() as transaction:
            versions.move_folders(transaction, folder=str(data / "adapters"))
            snapshots.move_folders(transaction, folder=str(data / "snapshots"))
            # A session of the backup may have been ended since by a log-out.
            console_sessions.delete_all(transaction)
            for route in routes.all_current(transaction):
                append(transaction, _decision(route, manifest, fault, replaced, by))
            restored = _restored(manifest, _recorded(audit_log.HEAD.beside(settings.data / STORE)), by)
            audit_log.append(transaction, [restored])
        ledger_head.begin(store)
    finally:
        store.close()


def _recorded(file: Path | None) -> LedgerHead | None:
    """The head of the ledger or the audit log that a restore replaces, if it was recorded."""
    try:
        return chain_head.read(file)
    except LedgerHeadBroken:
        return None


def _restored(manifest: Manifest, replaced: LedgerHead | None, by: Restored) -> Entry:
    """The row of the audit log, with the number and hash of the newest row of the log that is replaced."""
    about = f"{manifest.made}, replaced row {replaced.seq} {replaced.hash}" if replaced else manifest.made
    return Entry(by.time, Act.BACKUP_RESTORE, actor=by.actor, thing=about)


def _decision(
    route: dict[str, Any], manifest: Manifest, fault: str, replaced: LedgerHead | None, by: Restored
) -> Decision:
    reason = f"{by.actor} restored the backup of {manifest.made}, whose ledger had {manifest.ledger_rows} rows."
    if replaced:
        reason += f" The ledger that it replaced had {replaced.seq} rows."
    if fault:
        reason += f" The ledger of the backup was broken: {fault}"
    live = {"backup": {"made": manifest.made, "rows": manifest.ledger_rows, "head": manifest.ledger_head}}
    if replaced:
        live["replaced"] = {"rows": replaced.seq, "head": replaced.hash}
    return Decision(
        id=new_id("dec"),
        time=by.time,
        model=route["model"],
        from_version=route["champion"],
        to_version=None,
        verdict=Verdict.RESTORED,
        reason=reason,
        trigger="restore",
        actor=by.actor,
        live=live,
    )


def _require_unused(file: Path) -> None:
    if file.exists():
        Store(file, copy_first=False).close()  # refused while control has it


def _put_aside(data: Path, now: datetime) -> Path | None:
    names = [name for name in occupied(data) if name != GATEWAYS]
    if not names:
        return None
    aside = data / f"{ASIDE}{now:%Y%m%dT%H%M%S}"
    aside.mkdir()
    for name in names:
        _move(data / name, aside / name)
    return aside


def _move(source: Path, target: Path) -> None:
    """Moves a file or folder; of a folder that is a disk of its own, as in Kubernetes, only what is in it."""
    if source.is_dir() and (os.path.ismount(source) or os.path.ismount(target)):
        target.mkdir(exist_ok=True)
        for entry in source.iterdir():
            if entry.name not in NOT_OURS:
                shutil.move(entry, target / entry.name)
    else:
        os.rename(source, target)


def _add_spools(kept: Path, gateways: Path) -> None:
    """Adds the segments that gateways no longer have. A segment that still exists holds as much or more."""
    for segment in sorted(kept.rglob("*")) if kept.is_dir() else ():
        target = gateways / segment.relative_to(kept)
        if segment.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(segment, target)
    shutil.rmtree(kept, ignore_errors=True)
