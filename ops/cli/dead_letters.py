"""Commands for dead letters: list, show, replay, drop."""

from typing import Annotated

import typer

from core.errors import InputError
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    agreed,
    cell,
    out,
    show,
    tell,
)

Identity = Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id.")]
OneOrAll = Annotated[str | None, typer.Argument(metavar="ID", help="The dead letter's id.")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter.")]
COLUMNS = {"id": "dead letter", "time": "time (UTC)", "bytes": "bytes", "reason": "reason"}


def listed(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Maximum number of rows.")] = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """List dead letters, newest first, each with its reason."""
    found = client_of(config).get("/api/dead-letters", limit=limit)
    show(found["letters"], as_data, COLUMNS, "There are no dead letters.")
    if found["count"] > len(found["letters"]):
        tell(f"The newest {len(found['letters'])} of {found['count']}.")


def content(identity: Identity, config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """Show one dead letter with its content, which users wrote."""
    found = client_of(config).get(f"/api/dead-letters/{identity}")
    if as_data:
        print_data(found)
        return
    out.print(f"{found['id']}: {cell(found['reason'])}", style="bold", markup=False)
    out.print(found["content"], markup=False)


def replay(
    identity: OneOrAll = None,
    every: All = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Ingest one dead letter again, or all of them. Records that are stored already add nothing."""
    asked = _asked(identity, every)
    if not agreed(f"Control ingests {identity or 'every dead letter'} again.", yes, dry_run):
        return
    done = client_of(config).post("/api/dead-letters/replay", asked)
    show(done, as_data, {"id": "dead letter", "stored": "stored", "refused": "refused", "reason": "reason"}, "")
    tell(f"{sum(one['stored'] for one in done)} records are stored, {sum(one['refused'] for one in done)} refused.")


def drop(
    identity: OneOrAll = None,
    every: All = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Delete one dead letter, or all of them. What they hold is lost."""
    asked = _asked(identity, every)
    if agreed(f"The records of {identity or 'every dead letter'} are deleted.", yes, dry_run):
        done = client_of(config).post("/api/dead-letters/drop", asked)
        tell(f"{len(done)} dead letters are deleted.")


def _asked(identity: str | None, every: bool) -> dict[str, str]:
    """The body that names one dead letter, or none for all of them. Raises InputError for neither and for both."""
    if (identity is not None) == every:
        raise InputError("Name one dead letter, or use --all.", hint="See: loraloop dead-letters")
    return {} if identity is None else {"id": identity}
