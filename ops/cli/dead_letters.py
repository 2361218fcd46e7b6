"""Commands for dead letters: list, show, replay, drop."""

from typing import Annotated, Any

import typer

from core.errors import InputError
from ops.cli.change_report import Mode, carry_out
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    cell,
    out,
    show,
    tell,
)
from ops.client import ControlClient

Identity = Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id.")]
OneOrAll = Annotated[str | None, typer.Argument(metavar="ID", help="The dead letter's id.")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter.")]
# The most that one answer of control lists.
MOST = 10_000
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
    client = client_of(config)
    done = carry_out(
        f"Control ingests {identity or 'every dead letter'} again.",
        lambda: {"letters": client.post("/api/dead-letters/replay", asked)},
        {"letters": _named(client, identity)} if dry_run else {},
        Mode(yes, dry_run, as_data),
    )
    if done:
        letters = done["letters"]
        if not as_data:
            show(
                letters, False, {"id": "dead letter", "stored": "stored", "refused": "refused", "reason": "reason"}, ""
            )
        stored, refused = (sum(one[kind] for one in letters) for kind in ("stored", "refused"))
        tell(f"{stored} records are stored, {refused} refused.")


def drop(
    identity: OneOrAll = None,
    every: All = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Delete one dead letter, or all of them. What they hold is lost."""
    asked = _asked(identity, every)
    client = client_of(config)
    done = carry_out(
        f"The records of {identity or 'every dead letter'} are deleted.",
        lambda: {"letters": client.post("/api/dead-letters/drop", asked)},
        {"letters": _named(client, identity)} if dry_run else {},
        Mode(yes, dry_run, as_data),
    )
    if done:
        tell(f"{len(done['letters'])} dead letters are deleted.")


def _named(client: ControlClient, identity: str | None) -> list[dict[str, Any]]:
    """The ids of one dead letter, or of all. Raises NotFound."""
    if identity is not None:
        return [{"id": client.get(f"/api/dead-letters/{identity}")["id"]}]
    return [{"id": one["id"]} for one in client.get("/api/dead-letters", limit=MOST)["letters"]]


def _asked(identity: str | None, every: bool) -> dict[str, str]:
    """The body that names one dead letter, or none for all of them. Raises InputError for neither and for both."""
    if (identity is not None) == every:
        raise InputError("Name one dead letter, or use --all.", hint="See: loraloop dead-letters")
    return {} if identity is None else {"id": identity}
