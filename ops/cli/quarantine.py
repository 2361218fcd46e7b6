"""Commands for votes that are held back from training: list, show, hold, release, reject.

It owns how they are shown; what stays out of training is control's to say.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from core.errors import NotReady
from ops.cli.change_report import Mode, carry_out
from ops.cli.changes import Comment, said
from ops.cli.control_choice import client_of
from ops.cli.moments import From, Until
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


class Outcome(NamedTuple):
    """What becomes of the votes of a quarantine."""

    verb: str
    state: str
    sentence: str


RELEASE = Outcome("release", "released", "may be used for training again")
REJECT = Outcome("reject", "rejected", "are permanently left out of training")
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
    as_data: AsData = False,
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
        raise NotReady("There are no such votes.", hint="See: loraloop feedback --by-key, loraloop feedback --by-user")
    asked = {name: value for name, value in wanted.items() if value is not None} | said(comment)
    done = carry_out(
        "Votes that fit are left out until they are released, also those that come later.",
        lambda: {"quarantines": client.post("/api/quarantine", asked)},
        {"quarantines": [{"id": None, "state": "held", "version": None, **row} for row in found]},
        Mode(yes, dry_run, as_data),
    )
    for made in done["quarantines"] if done else ():
        tell(f"They are held. See them with: loraloop quarantine show {made['id']}")


def release(
    identity: Identity,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Let the next snapshot learn from these votes again."""
    _decide(config, identity, RELEASE, comment, Mode(yes, dry_run, as_data))


def reject(
    identity: Identity,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Leave these votes out of every snapshot, permanently."""
    _decide(config, identity, REJECT, comment, Mode(yes, dry_run, as_data))


def _decide(config: Path, identity: str, outcome: Outcome, comment: str, mode: Mode) -> None:
    client, asked = client_of(config), f"The votes of {identity} {outcome.sentence}."
    plan: dict[str, Any] = {}
    if mode.dry_run:  # its votes have texts of users, which nobody needs to read to decide
        plan = client.get(f"/api/quarantine/{identity}", limit=1) | {"state": outcome.state}
        plan = {name: value for name, value in plan.items() if name != "votes"} | {"decision_id": None, "reason": asked}
    act = partial(client.post, f"/api/quarantine/{identity}/{outcome.verb}", said(comment))
    if done := carry_out(asked, act, plan, mode):
        tell(f"{done['id']} is {done['state']}.")
