"""Commands for one run: show it, cancel, pause and resume it."""

from functools import partial
from typing import Annotated, Any

import typer

from core.errors import NotReady
from ops.cli.change_report import Mode, carry_out, print_changed
from ops.cli.changes import Comment, said
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    out,
    tell,
)
from retrain.progress import duration, share_words

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id. See: loraloop runs")]
ROWS = ("id", "model", "state", "trigger", "actor", "comment", "started", "finished", "candidate", "reason")


def show(run: RunArgument, config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """Show one run: its state, its progress, the estimate, and who paused or cancelled it."""
    found = client_of(config).get(f"/api/runs/{run}")
    if as_data:
        print_data(found)
        return
    for name in ROWS:
        if found[name] not in (None, ""):
            out.print(f"{name:10} {found[name]}", markup=False)
    if found["progress"] and not found["finished"]:
        out.print(f"{'progress':10} {found['progress']['text']}", markup=False)
    if estimate := found["detail"].get("estimate"):
        out.print(f"{'estimate':10} {estimate['text']}", markup=False)
    for line in search_lines(found["detail"].get("search", {}), found["trials"]):
        out.print(f"{'search':10} {line}", markup=False)
    for line in curve_lines(found["detail"].get("learning_curve", {})):
        out.print(f"{'curve':10} {line}", markup=False)
    if "stopped" in found["detail"]:
        out.print(f"{'training':10} {found['detail']['stopped']}", markup=False)
    if forgetting := found["detail"].get("forgetting"):
        value, prompts = forgetting["value"], forgetting["prompts"]
        out.print(f"forgetting {value:.3f} nats per token on {prompts} general prompts", markup=False)
    if "warning" in found["detail"]:
        out.print(f"{'warning':10} {found['detail']['warning']}", markup=False)
    for done in found["detail"].get("actions", []):
        why = f": {done['comment']}" if done["comment"] else ""
        out.print(f"{done['action']:10} {done['time']} by {done['actor']}{why}", markup=False)


def search_lines(search: dict[str, Any], trials: list[dict[str, Any]]) -> list[str]:
    """Return why a run searches or not, each trial of its search, and what the search found."""
    lines = [search["reason"]] if search else []
    for trial in trials:
        values = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in trial["values"].items())
        score = f"dev score {trial['score']:.3f}, " if trial["score"] is not None else ""
        why = f". {trial['reason']}" if trial["state"] == "failed" else ""
        lines.append(f"trial {trial['number']} {trial['state']}: {score}{duration(trial['seconds'])}, {values}{why}")
    return [*lines, search["conclusion"]] if "conclusion" in search else lines


def curve_lines(curve: dict[str, Any]) -> list[str]:
    """Return why a run makes a learning curve or not, each of its trainings, and what it says."""
    lines = [curve["reason"]] if curve else []
    for point in curve.get("points", []):
        found = point["reason"] if point["state"] == "failed" else point["state"]
        if point["score"] is not None:
            bounds = "" if point["low"] is None else f" ({point['low']:.3f} to {point['high']:.3f})"
            found = f"{point['rows']:,} rows, dev score {point['score']:.3f}{bounds}, {duration(point['seconds'])}"
        lines.append(f"{share_words(point['share'])}: {found}")
    return [*lines, curve["conclusion"]] if "conclusion" in curve else lines


def cancel(
    run: RunArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """End a run that is queued, paused or in progress. The champion stays, and the ledger says who ended the run."""
    client, asked = client_of(config), f"Run {run} ends without a candidate."
    plan: dict[str, Any] = {}
    if dry_run:
        plan = client.get(f"/api/runs/{run}")
        if "cancel" not in plan["allowed"]:
            raise NotReady(f"Run {run} is {plan['state']}.", hint=f"See: loraloop runs show {run}")
        plan |= {"state": "cancelled", "allowed": []}
    done = carry_out(
        asked, partial(client.post, f"/api/runs/{run}/cancel", said(comment)), plan, Mode(yes, dry_run, as_data)
    )
    if done:
        _tell_state(done)


def pause(
    run: RunArgument, comment: Comment = "", config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False
) -> None:
    """Pause a run. A training ends after the step in progress, with a checkpoint. No other run of the model starts."""
    _act(run, "pause", comment, config, as_data)


def resume(
    run: RunArgument, comment: Comment = "", config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False
) -> None:
    """Continue a paused run at its last checkpoint. It makes the same adapter as without the pause."""
    _act(run, "resume", comment, config, as_data)


def _act(run: str, verb: str, comment: str, config: ConfigOption, as_data: bool) -> None:
    found = client_of(config).post(f"/api/runs/{run}/{verb}", said(comment))
    if as_data:
        print_changed(found)
    _tell_state(found)


def _tell_state(found: dict[str, Any]) -> None:
    run, asked = found["id"], found["detail"].get("interruption")
    ends = f" It ends after its current step: loraloop runs show {run}" if asked else ""
    tell(f"{run} is {found['state']}.{ends}")
