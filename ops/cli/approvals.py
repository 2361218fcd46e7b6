"""Commands for a candidate that waits for a person: approve it, or reject it."""

from functools import partial
from typing import Annotated, Any

import typer

from core.errors import AlreadyDone
from ops.cli.change_report import Mode, carry_out
from ops.cli.changes import Comment, KeepData, require_model, said, served_alone, tell_switch, votes_against
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, DryRun, Yes, tell
from ops.client import ControlClient
from ops.model_changes import planned

DecisionArgument = Annotated[str, typer.Argument(metavar="ID", help="The decision's id or number.")]


def approve(
    identity: DecisionArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Approve the step that a candidate waits for: the start of its canary, or its promotion."""
    client = client_of(config)
    found, now = _waiting(client, identity)
    model, candidate = found["model"], found["to_version"]
    if found["live"].get("step") == "canary":
        verdict, what, serves = "canary_started", "starts its canary", {"canary": candidate, "share": None}
    else:
        verdict, what = "promoted", "takes over"
        serves = served_alone(candidate) | {"holdback": None}
    asked = f"The candidate {model}@{candidate} of decision {identity} {what}."
    plan = planned(now, verdict, candidate, asked, comment=comment, **serves)
    act = partial(client.post, f"/api/promotions/{identity}/approve", said(comment))
    done = carry_out(asked, act, plan, Mode(yes, dry_run, as_data))
    if done and done["verdict"] == "canary_started":
        tell(f"The canary of {model}@{candidate} has started.")
    elif done:
        tell_switch(done)


def reject(
    identity: DecisionArgument,
    comment: Annotated[str, typer.Option("--comment", "-m", help="Why. Required.")],
    keep_data: KeepData = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Reject a candidate that waits for approval.

    Votes against it go to quarantine if they were a burst or contradict others, unless --keep-data is given.
    """
    client = client_of(config)
    found, now = _waiting(client, identity)
    model, candidate = found["model"], found["to_version"]
    does = f"The candidate {model}@{candidate} of decision {identity} is rejected."
    votes, quarantine = votes_against(client, model, candidate, keep_data)
    ends = {"canary": None, "share": 0.0, "paused": False, "holdback": 0.0} if now["canary"] == candidate else {}
    plan = planned(now, "rejected", candidate, does, comment=comment, quarantine=quarantine, **ends)
    body = {"keep_data": keep_data, **said(comment)}
    act = partial(client.post, f"/api/promotions/{identity}/reject", body)
    if carry_out(f"{does} {votes}", act, plan, Mode(yes, dry_run, as_data)):
        tell("Rejected; the champion stays.")


def _waiting(client: ControlClient, identity: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A decision that waits for a person, and the row of its model in `loraloop models`. Raises AlreadyDone."""
    found = client.get(f"/api/promotions/{identity}")
    now = require_model(client, found["model"])
    if now["awaiting"] != found["id"]:
        raise AlreadyDone(f"Decision {identity} waits for nobody.", hint="See: loraloop promotions")
    return found, now
