"""Commands for alarms: list them, and silence one."""

from typing import Annotated, Any, get_args

import typer

from core.settings import AlarmName, nearest
from ops.cli.change_report import print_changed
from ops.cli.changes import said
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, show, tell

COLUMNS = {
    "name": "alarm",
    "severity": "severity",
    "state": "state",
    "since": "since (UTC)",
    "sentence": "what is wrong",
    "fix": "what to do",
    "runbook": "runbook",
}


def alarms(
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only alarms about this model.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """List alarms. `pending`: present for less than its hold time. `ending`: absent for less than its hold time."""
    rows = client_of(config).get("/api/alarms", model=model)
    if not as_data:
        for row in rows:
            row["state"] += _silenced(row)
    show(rows, as_data, COLUMNS, "No alarms.")


def silence(
    name: Annotated[str, typer.Argument(help="The alarm, such as engine_down.")],
    hours: Annotated[float, typer.Option("--hours", min=0, max=720, help="For how long. 0 ends a silence.")],
    subject: Annotated[
        str | None, typer.Option("--subject", help="Only this engine, gateway, model or target. Without it: all.")
    ] = None,
    comment: Annotated[str, typer.Option("--comment", "-m", help="Why.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Send no message about an alarm for some hours. It stays in lists and metrics."""
    known = get_args(AlarmName)
    if name not in known:
        near = nearest(name, known)
        hint = f"Did you mean {near}?" if near else f"Take one of: {', '.join(known)}."
        raise typer.BadParameter(f"{name!r} is no alarm. {hint}", param_hint="NAME")
    body = {"name": name, "subject": subject, "hours": hours, **said(comment)}
    done = client_of(config).post("/api/alarms/silence", body)
    if as_data:
        print_changed(done)
    about = f"{name} of {subject}" if subject else name
    tell(f"{about} is silenced until {done['until']}." if done["until"] else f"{about} is not silenced any more.")


def _silenced(row: dict[str, Any]) -> str:
    return f", silenced until {row['silence']['until'][:16]}" if row["silence"] else ""
