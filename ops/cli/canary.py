"""Commands for canaries: stop, pause or resume the one of a model, or change its share of users."""

from functools import partial
from typing import Annotated, Any

import typer

from core.errors import AlreadyDone, NotReady
from ops.cli.change_report import Mode, carry_out
from ops.cli.changes import Comment, KeepData, ModelArgument, require_model, said, stop_canary, tell_switch
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, DryRun, Yes
from ops.client import ControlClient
from ops.model_changes import ModelChange, planned

COUNT = "Its count of users begins from zero, at half the level."


def stop(
    model: ModelArgument,
    comment: Comment = "",
    keep_data: KeepData = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Stop the canary of a model. The champion serves everyone again, and no request is lost.

    Votes against the canary go to quarantine if they were a burst or contradict others, unless --keep-data.
    """
    client = client_of(config)
    now = _with_canary(client, model)
    stop_canary(client, now, comment, Mode(yes, dry_run, as_data), keep_data=keep_data)


def pause(
    model: ModelArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Pause the canary of a model. The champion serves everyone until it is resumed, and nothing is decided.

    No request is lost. The time limit of the canary does not run while it is paused.
    """
    client = client_of(config)
    now = _with_canary(client, model)
    if now["paused"]:
        raise AlreadyDone(f"The canary of {model} is already paused.", hint=f"Resume: loraloop canary resume {model}")
    asked = f"The canary {model}@{now['canary']} pauses. {model}@{now['champion']} serves everyone."
    paused = {"share": 0.0, "paused": True, "holdback": 0.0}
    plan = planned(now, "canary_paused", now["canary"], asked, comment=comment, **paused)
    _change(client, asked, plan, "pause", said(comment), Mode(yes, dry_run, as_data))


def resume(
    model: ModelArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Resume the paused canary of a model, with the share of users that it had.

    Its count of users begins from zero, at half the level, because the pause changed who met which version.
    """
    client = client_of(config)
    now = _with_canary(client, model)
    if not now["paused"]:
        raise NotReady(f"The canary of {model} is not paused.", hint="What serves now: loraloop models")
    share = now["paused"]["share"]
    asked = f"The canary {model}@{now['canary']} serves {100 * share:g}% of users again. {COUNT}"
    again = {"share": share, "paused": False, "holdback": None}
    plan = planned(now, "canary_resumed", now["canary"], asked, comment=comment, **again)
    _change(client, asked, plan, "resume", said(comment), Mode(yes, dry_run, as_data))


def set_share(
    model: ModelArgument,
    share: Annotated[float, typer.Argument(help="Share of users, above 0 and at most 0.5.")],
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Serve the canary of a model to another share of users.

    Its count of users begins from zero, at half the level, because users who joined at another share would bias it.
    """
    if not 0 < share <= 0.5:
        raise typer.BadParameter("above 0 and at most 0.5, for example 0.2 for 20% of users.", param_hint="SHARE")
    client = client_of(config)
    now = _with_canary(client, model)
    if now["paused"]:
        raise NotReady(f"The canary of {model} is paused.", hint=f"Resume it first: loraloop canary resume {model}")
    if now["share"] == share:
        raise AlreadyDone(f"The canary of {model} already serves {100 * share:g}% of users.")
    asked = f"The canary {model}@{now['canary']} serves {100 * share:g}% of users. {COUNT}"
    plan = planned(now, "share_changed", now["canary"], asked, comment=comment, share=share, holdback=None)
    _change(client, asked, plan, "share", {"share": share, **said(comment)}, Mode(yes, dry_run, as_data))


def _with_canary(client: ControlClient, model: str) -> dict[str, Any]:
    """Return the row of a model in `loraloop models`. Raises NotReady if it has no canary."""
    now = require_model(client, model)
    if now["canary"] is None:
        raise NotReady(f"{model} has no canary.", hint=f"To replace the champion: loraloop models rollback {model}")
    return now


def _change(client: ControlClient, asked: str, plan: ModelChange, verb: str, body: dict[str, Any], mode: Mode) -> None:
    path = f"/api/models/{plan.model}/canary/{verb}"
    act = partial(client.post, path, {"version": plan.serves.canary, **body})
    if done := carry_out(asked, act, plan, mode):
        tell_switch(done)
