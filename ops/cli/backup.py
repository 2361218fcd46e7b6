"""Commands that copy and bring back all data: backup, restore.

It owns files on the person's side; control alone reads and writes its store.
"""

import getpass
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, cast

import typer

from core.clock import utc_now
from core.errors import InputError, LoraLoopError
from ops.cli import streams
from ops.cli.change_report import print_changed
from ops.cli.control_choice import client_of, local
from ops.cli.output_format import AsData
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    agreed,
    bytes_bar,
    settings_from,
    tell,
)
from ops.client import ControlClient

if TYPE_CHECKING:
    from ops.backup.archive import Manifest

BROKEN = ".broken-ledger"
COPYING = "Control copies the store; this takes a while when it is large."
CHUNK = 1024 * 1024
NewBackup = Annotated[Path, typer.Argument(metavar="PATH", help="The backup, one tar file, or - for stdout.")]
BackupFile = Annotated[Path, typer.Argument(metavar="PATH", help="The backup, one tar file, or - for stdin.")]


def backup(path: NewBackup, yes: Yes = False, as_data: AsData = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Save store, adapters, snapshots, spools and settings in one file while all runs, and prove it by reading it.

    If the ledger is broken, the backup is kept as PATH.broken-ledger and the exit code is 1. On stdout, the backup is
    proved on its way, and every exit code but 0 says not to keep it.
    """
    from ops.backup.restore import prove

    if streams.is_stream(path):
        streams.require_free_stdout(path, as_data)
        _to_stdout(client_of(config))
        return
    if not streams.may_write(path, yes):
        return
    part = path.with_name(path.name + ".part")
    try:
        _fetch(client_of(config), part)
        with bytes_bar("Reading it again", part.stat().st_size) as advance:
            manifest = prove(part, advance=advance)
        kept = path.with_name(path.name + BROKEN) if manifest.ledger_fault else path
        os.replace(part, kept)
    except OSError as error:
        raise LoraLoopError(f"{path} cannot be written: {error.strerror}.", hint="Choose another place.") from error
    finally:
        part.unlink(missing_ok=True)
    if as_data:
        print_changed(asdict(manifest) | {"path": str(kept), "bytes": kept.stat().st_size})
    if manifest.ledger_fault:
        raise LoraLoopError(
            f"The ledger is broken. {manifest.ledger_fault} The backup is kept as {kept}.",
            hint="Keep your last good backup, and see docs/runbook.md, Broken ledger.",
        )
    _tell_saved(manifest, path.stat().st_size)


def _tell_saved(manifest: "Manifest", size: int) -> None:
    tell(
        f"Saved {len(manifest.files)} files, {size / 1e6:.1f} MB, every SHA-256 proved. The ledger has "
        f"{manifest.ledger_rows} rows, head {manifest.ledger_head}. It holds users' texts."
    )


class Passed:
    """Pieces of a download, which are written to a file as somebody reads them."""

    def __init__(self, pieces: Iterator[bytes], file: IO[bytes], advance: Callable[[int], None]) -> None:
        self._pieces, self._file, self._advance = pieces, file, advance
        self._rest, self.size = b"", 0

    def read(self, size: int, /) -> bytes:
        """The next bytes, fewer than `size` only at the end."""
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._file.write(piece)
            self._advance(len(piece))
            self._rest += piece
            self.size += len(piece)
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def _to_stdout(client: ControlClient) -> None:
    from ops.backup.restore import prove_stream

    tell(COPYING)
    with (
        client.download("POST", "/api/backup") as (size, pieces, _),
        streams.written(Path("-")) as file,
        bytes_bar("Saving", size) as advance,
    ):
        passed = Passed(pieces, file, advance)
        manifest = prove_stream(cast("IO[bytes]", passed), "The backup")
        while passed.read(CHUNK):  # what pads the end of a tar file
            pass
    if manifest.ledger_fault:
        raise LoraLoopError(
            f"The ledger is broken. {manifest.ledger_fault} The backup was written to stdout as it is.",
            hint="Keep your last good backup, and see docs/runbook.md, Broken ledger.",
        )
    _tell_saved(manifest, passed.size)


def _fetch(client: ControlClient, part: Path) -> None:
    tell(COPYING)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with (
        os.fdopen(descriptor, "wb") as file,
        client.download("POST", "/api/backup") as (size, pieces, _),
        bytes_bar("Saving", size) as advance,
    ):
        for piece in pieces:
            file.write(piece)
            advance(len(piece))
        file.flush()
        os.fsync(file.fileno())


@local
def restore(
    path: BackupFile,
    yes: Yes = False,
    dry_run: DryRun = False,
    broken_ledger: Annotated[
        bool, typer.Option("--broken-ledger", help="Restore it although its ledger is broken. The ledger will say so.")
    ] = False,
    as_data: AsData = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Put a backup into the data folder, once every file's SHA-256 and the ledger are proved. LoraLoop must be stopped.

    Nothing is deleted: what the folder held is put aside in it, as before-restore-…; gateways' spools stay.
    """
    from ops.backup import restore as restoring
    from ops.local.preparation import lock_data

    settings = settings_from(config)
    if not streams.is_stream(path) and not path.is_file():
        raise InputError(f"There is no file {path}.", hint="Name what loraloop backup create wrote.")
    held = restoring.occupied(settings.data)
    with streams.readable(path, yes or not held, dry_run) as file:
        found = _proved(file, streams.name_of(path, "stdin"), broken_ledger)
        if held:
            question = f"{settings.data} holds {', '.join(held)}; that is put aside, but for gateways' spools."
        else:
            question = f"The backup goes into {settings.data}."
        if not agreed(question, yes or not held, dry_run):
            if dry_run and as_data:
                print_changed(asdict(found) | {"aside": None, "replaces": held}, dry_run=True)
            return
        lock = lock_data(settings.data)
        try:
            with bytes_bar("Restoring", file.stat().st_size) as advance:
                by = restoring.Restored(utc_now(), f"cli:{getpass.getuser()}", broken_ledger)
                manifest, aside = restoring.restore(file, settings, by, advance)
        finally:
            lock.release()
    if as_data:
        print_changed(asdict(manifest) | {"aside": aside and str(aside), "replaces": held})
    tell("Restored." + (f" What was there is in {aside}." if aside else "") + " Next: loraloop up")


def _proved(file: Path, name: str, broken_ledger: bool) -> "Manifest":
    """What a backup holds, once it is proved. Raises InputError, also for a broken ledger that was not allowed."""
    from ops.backup import restore as restoring

    with bytes_bar("Proving", file.stat().st_size) as advance:
        found, fault = restoring.prove_with_ledger(file, name=name, advance=advance)
    if fault and not broken_ledger:
        raise restoring.broken_ledger(Path(name), fault)
    tell(f"{name} is whole: {len(found.files)} files, made {found.made}, ledger of {found.ledger_rows} rows.")
    if fault:
        tell(f"Its ledger is broken. {fault}")
    return found
