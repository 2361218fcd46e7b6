"""Commands for canaries: stop, pause or resume the one of a model, or change its share of users."""

from typing import Annotated, Any

import typer

from core.errors import NotFound, NotReady
from ops.cli.changes import Comment, KeepData, ModelArgument, find_model, said, stop_canary, tell_switch
from ops.cli.control_choice import client_of
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, DryRun, Yes, agreed
from ops.client import ControlClient

COUNT = "Its count of users begins from zero, at half the level."


def stop(
    model: ModelArgument,
    comment: Comment = "",
    keep_data: KeepData = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Stop the canary of a model. The champion serves everyone again, and no request is lost.

    Votes against the canary go to quarantine if they were a burst or contradict others, unless --keep-data.
    """
    client = client_of(config)
    now = _with_canary(client, model)
    stop_canary(client, now, comment, keep_data=keep_data, yes=yes, dry_run=dry_run)


def pause(
    model: ModelArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Pause the canary of a model. The champion serves everyone until it is resumed, and nothing is decided.

    No request is lost. The time limit of the canary does not run while it is paused.
    """
    client = client_of(config)
    now = _with_canary(client, model)
    asked = f"The canary {model}@{now['canary']} pauses. {model}@{now['champion']} serves everyone."
    if agreed(asked, yes, dry_run):
        _change(client, now, "pause", said(comment))


def resume(
    model: ModelArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Resume the paused canary of a model, with the share of users that it had.

    Its count of users begins from zero, at half the level, because the pause changed who met which version.
    """
    client = client_of(config)
    now = _with_canary(client, model)
    if not now["paused"]:
        raise NotReady(f"The canary of {model} is not paused.", hint="What serves now: loraloop models")
    share = f"{100 * now['paused']['share']:g}% of users"
    if agreed(f"The canary {model}@{now['canary']} serves {share} again. {COUNT}", yes, dry_run):
        _change(client, now, "resume", said(comment))


def set_share(
    model: ModelArgument,
    share: Annotated[float, typer.Argument(help="Share of users, above 0 and at most 0.5.")],
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
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
    if agreed(f"The canary {model}@{now['canary']} serves {100 * share:g}% of users. {COUNT}", yes, dry_run):
        _change(client, now, "share", {"share": share, **said(comment)})


def _with_canary(client: ControlClient, model: str) -> dict[str, Any]:
    """Return the row of a model in `loraloop models`. Raises NotReady if it has no canary."""
    now = find_model(client, model)
    if now is None:
        raise NotFound("model", model, hint="See: loraloop models")
    if now["canary"] is None:
        raise NotReady(f"{model} has no canary.", hint=f"To replace the champion: loraloop models rollback {model}")
    return now


def _change(client: ControlClient, now: dict[str, Any], verb: str, body: dict[str, Any]) -> None:
    tell_switch(client.post(f"/api/models/{now['model']}/canary/{verb}", {"version": now["canary"], **body}))
