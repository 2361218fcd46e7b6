"""Commands that copy and bring back all data: backup, restore.

It owns files on the person's side; control alone reads and writes its store.
"""

import getpass
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from core.clock import utc_now
from core.errors import InputError, LoraLoopError
from ops.cli.control_choice import client_of, local
from ops.cli.output_format import AsData, print_data
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

BROKEN = ".broken-ledger"
BackupFile = Annotated[Path, typer.Argument(metavar="PATH", help="The backup, one tar file.")]


def backup(path: BackupFile, yes: Yes = False, as_data: AsData = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Save store, adapters, snapshots, spools and settings in one file while all runs, and prove it by reading it.

    If the ledger is broken, the backup is kept as PATH.broken-ledger and the exit code is 1.
    """
    from ops.backup.restore import prove

    if path.exists() and not agreed(f"{path} exists and is replaced.", yes, False):
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
        print_data(asdict(manifest) | {"path": str(kept), "bytes": kept.stat().st_size})
    if manifest.ledger_fault:
        raise LoraLoopError(
            f"The ledger is broken. {manifest.ledger_fault} The backup is kept as {kept}.",
            hint="Keep your last good backup, and see docs/runbook.md, Broken ledger.",
        )
    tell(
        f"Saved {len(manifest.files)} files, {path.stat().st_size / 1e6:.1f} MB, every SHA-256 proved. The ledger has "
        f"{manifest.ledger_rows} rows, head {manifest.ledger_head}. It holds users' texts."
    )


def _fetch(client: ControlClient, part: Path) -> None:
    tell("Control copies the store; this takes a while when it is large.")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with (
        os.fdopen(descriptor, "wb") as file,
        client.download("POST", "/api/backup") as (size, pieces),
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
    if not path.is_file():
        raise InputError(f"There is no file {path}.", hint="Name what loraloop backup create wrote.")
    with bytes_bar("Proving", path.stat().st_size) as advance:
        found, fault = restoring.prove_with_ledger(path, advance=advance)
    if fault and not broken_ledger:
        raise restoring.broken_ledger(path, fault)
    tell(f"{path} is whole: {len(found.files)} files, made {found.made}, ledger of {found.ledger_rows} rows.")
    if fault:
        tell(f"Its ledger is broken. {fault}")
    held = restoring.occupied(settings.data)
    if held:
        question = f"{settings.data} holds {', '.join(held)}; that is put aside, but for gateways' spools."
    else:
        question = f"The backup goes into {settings.data}."
    if not agreed(question, yes or not held, dry_run):
        return
    lock = lock_data(settings.data)
    try:
        with bytes_bar("Restoring", path.stat().st_size) as advance:
            by = restoring.Restored(utc_now(), f"cli:{getpass.getuser()}", broken_ledger)
            manifest, aside = restoring.restore(path, settings, by, advance)
    finally:
        lock.release()
    if as_data:
        print_data(asdict(manifest) | {"aside": aside and str(aside)})
    tell("Restored." + (f" What was there is in {aside}." if aside else "") + " Next: loraloop up")
