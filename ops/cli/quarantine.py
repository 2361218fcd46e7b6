"""Commands for votes that are held back from training: list, show, hold, release, reject.

It owns how they are shown; what stays out of training is control's to say.
"""

from typing import Annotated, Any

import typer

from ops.cli.changes import Comment, said
from ops.cli.control_choice import client_of
from ops.cli.moments import From, Until
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

Identity = Annotated[str, typer.Argument(metavar="ID", help="The quarantine's id, or its # in the ledger.")]


def listed(
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only this model.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """List quarantines, newest first: whose data it is, how many votes, and what became of them."""
    rows = client_of(config).get("/api/quarantine", model=model)
    columns = {
        "decision_seq": "#",
        "id": "quarantine",
        "time": "time (UTC)",
        "model": "model",
        "whose": "whose",
        "votes": "votes",
        "users": "users",
        "state": "state",
        "actor": "by",
    }
    show(rows, as_data, columns, "Nothing is in quarantine.")


def votes(
    identity: Identity,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Maximum number of votes.")] = 100,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Show the votes of one quarantine, those of the busiest voters first."""
    found = client_of(config).get(f"/api/quarantine/{identity}", limit=limit)
    if as_data:
        print_data(found)
        return
    heading = f"{found['id']}: {found['state']}, on {found['model']}: {cell(found['whose'])}"
    out.print(heading, style="bold", markup=False)
    if found["comment"]:
        out.print(f"  {found['actor']}: {cell(found['comment'])}", markup=False)
    columns = {
        "time": "time (UTC)",
        "who": "user",
        "type": "type",
        "value": "value",
        "answer": "answer",
        "interaction_id": "interaction",
    }
    show(found["votes"], False, columns, "")


def hold(
    model: Annotated[
        str | None, typer.Option("--model", help="Only votes on this model. Default: every model.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The id of the key that gave them.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="The user who gave them.")] = None,
    since: From = None,
    until: Until = None,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Hold every vote that fits all of key, user and time, later ones too. --dry-run counts them."""
    client = client_of(config)
    wanted = {"model": model, "key": key, "user": user, "from": since, "until": until}
    found = [row for row in client.get("/api/quarantine/preview", **wanted) if row["votes"]]
    for row in found:
        tell(
            f"{row['model']}: {row['votes']} votes of {row['voters']} voters, "
            f"{row['votes'] - row['added']} of them already held."
        )
    if not found:
        tell("There are no such votes.")
    if agreed("Votes that fit are left out until they are released, also those that come later.", yes, dry_run):
        asked = {name: value for name, value in wanted.items() if value is not None}
        for done in client.post("/api/quarantine", asked | said(comment)):
            tell(f"They are held. See them with: loraloop quarantine show {done['id']}")


def release(
    identity: Identity,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Let the next snapshot learn from these votes again."""
    _decide(config, identity, "release", "may be used for training again", comment, yes, dry_run)


def reject(
    identity: Identity,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Leave these votes out of every snapshot, permanently."""
    _decide(config, identity, "reject", "are permanently left out of training", comment, yes, dry_run)


def _decide(config: Any, identity: str, verb: str, what: str, comment: str, yes: bool, dry_run: bool) -> None:
    if agreed(f"The votes of {identity} {what}.", yes, dry_run):
        done = client_of(config).post(f"/api/quarantine/{identity}/{verb}", said(comment))
        tell(f"{done['id']} is {done['state']}.")
