"""Commands that change what serves: start a run, promote, roll back, reload.

With --dry-run each only says what it would do; otherwise it asks first, and without a terminal it needs --yes.
"""

import getpass
from contextlib import closing
from functools import partial
from typing import Annotated, Any

import typer

from core.errors import AlreadyDone, LoraLoopError, NotFound, NotReady
from loraloop.calls import Server
from ops.apps.changed_settings import Changes
from ops.cli import run_progress
from ops.cli.change_report import Mode, carry_out
from ops.cli.control_choice import Gateways, chosen, client_of
from ops.cli.exit_codes import NOT_PROMOTED
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    tell,
)
from ops.client import ControlClient
from ops.model_changes import planned

ModelArgument = Annotated[str, typer.Argument(help="The model.")]
Comment = Annotated[str, typer.Option("--comment", "-m", help="Kept in the ledger.")]
KeepData = Annotated[bool, typer.Option("--keep-data", help="Quarantine nothing.")]


def retrain(
    model: ModelArgument,
    comment: Comment = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="With --wait: 3 when not promoted.")] = False,
    as_data: AsData = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Start a run now, without waiting for the schedule. The gate judges its candidate like any other."""
    if exit_code and not wait:
        raise typer.BadParameter("it tells how a run ended, so it needs --wait.", param_hint="--exit-code")
    client = client_of(config)
    identity = client.post(f"/api/models/{model}/retrain", said(comment))["run_id"]
    if not wait:
        if as_data:
            print_data(client.get(f"/api/runs/{identity}"))
        tell(f"{identity} of {model} is queued. Follow it with: loraloop runs show {identity}")
        return
    run = run_progress.follow(client, identity)
    if as_data:
        print_data(run)
    tell(f"{run['id']} is {run['state']}. {run['reason'] or ''}")
    if run["state"] == "failed":
        raise typer.Exit(1)
    if exit_code and "promoted" not in {decision["verdict"] for decision in run["decisions"]}:
        raise typer.Exit(NOT_PROMOTED)


def promote(
    model: ModelArgument,
    version: Annotated[int, typer.Argument(min=0, help="The version.")],
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Put a version in service past the gate. The ledger says that a person did."""
    client = client_of(config)
    now = require_model(client, model)
    if version == now["champion"]:
        raise AlreadyDone(f"{model}@{version} is already the champion.")
    client.get(f"/api/models/{model}/versions/{version}")  # refused before a question, if there is none
    ends = "" if now["canary"] is None else f" The canary {model}@{now['canary']} ends."
    asked = f"{model}@{version} takes over from {model}@{now['champion']}, without a gate.{ends}"
    plan = planned(now, "promoted", version, asked, comment=comment, **served_alone(version))
    act = partial(client.post, f"/api/models/{model}/promote", {"version": version, **said(comment)})
    if done := carry_out(asked, act, plan, Mode(yes, dry_run, as_data)):
        tell_switch(done)


def rollback(
    model: ModelArgument,
    to: Annotated[int | None, typer.Option("--to", min=0, help="Default: what served before.")] = None,
    keep_data: KeepData = False,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Put an earlier version back. No request is lost. To go forward again: --to VERSION.

    While a canary runs, a rollback without --to stops the canary, and the champion stays. Votes against the version
    that leaves go to quarantine if they were a burst or contradict others, unless --keep-data.
    """
    client = client_of(config)
    now = require_model(client, model)
    champion, canary = now["champion"], now["canary"]
    if to is None and canary is not None:
        stop_canary(client, now, comment, Mode(yes, dry_run, as_data), keep_data=keep_data)
        return
    to = now["rollback_to"] if to is None else to
    if to is None:
        raise NotReady(f"{model} has had no other champion.", hint=f"See: loraloop versions {model}")
    if to == champion:
        raise AlreadyDone(f"{model}@{to} is already the champion.")
    client.get(f"/api/models/{model}/versions/{to}")  # refused before a question, if there is none
    ends = "" if canary is None else f" The canary {model}@{canary} ends."
    does = f"{model} goes back from {model}@{champion} to {model}@{to}.{ends}"
    votes, quarantine = votes_against(client, model, champion, keep_data)
    plan = planned(now, "rolled_back", to, does, comment=comment, quarantine=quarantine, **served_alone(to))
    body = {"to": to, "keep_data": keep_data, **said(comment)}
    act = partial(client.post, f"/api/models/{model}/rollback", body)
    if done := carry_out(f"{does} {votes}", act, plan, Mode(yes, dry_run, as_data)):
        tell_switch(done)


def served_alone(champion: int) -> dict[str, Any]:
    """What serves a model whose new champion has neither canary nor holdback."""
    return {"champion": champion, "canary": None, "share": 0.0, "paused": False, "holdback": 0.0}


def require_model(client: ControlClient, model: str) -> dict[str, Any]:
    """Return the row of a model in `loraloop models`. Raises NotFound if control does not serve it."""
    for row in client.get("/api/models", model=model):
        return row
    raise NotFound("model", model, hint="See: loraloop models")


def votes_against(
    client: ControlClient, model: str, version: int, keep_data: bool
) -> tuple[str, dict[str, Any] | None]:
    """What happens to votes against a version that leaves: in a sentence or two, and as data."""
    if keep_data:
        return "Nothing goes to quarantine (--keep-data).", None
    found = client.get(f"/api/models/{model}/versions/{version}/suspects")
    review = " They are in quarantine until somebody reviews them. --keep-data prevents that." if found["held"] else ""
    return f"{found['reason']}{review}", {"id": None, **found}


def stop_canary(client: ControlClient, now: dict[str, Any], comment: str, mode: Mode, *, keep_data: bool) -> None:
    """Stop the canary of a model, whose row in `loraloop models` is `now`."""
    model, canary = now["model"], now["canary"]
    does = f"The canary {model}@{canary} stops. {model}@{now['champion']} serves everyone."
    votes, quarantine = votes_against(client, model, canary, keep_data)
    left = served_alone(now["champion"])
    plan = planned(now, "rejected", canary, does, comment=comment, quarantine=quarantine, **left)
    body = {"version": canary, "keep_data": keep_data, **said(comment)}
    act = partial(client.post, f"/api/models/{model}/canary/stop", body)
    if done := carry_out(f"{does} {votes}", act, plan, mode):
        tell_switch(done)


def reload(
    gateway: Gateways = [],  # noqa: B006  Typer copies it
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Have control and gateways read their configuration again, and say what took effect and what needs a restart."""
    choice, rows, failed = chosen(config), [], False
    for place, url in enumerate((choice.url, *choice.gateways(gateway))):
        process: Server = "gateway" if place else "control"
        try:
            with closing(choice.client(process, url)) as client:
                rows.append({"url": url} | client.post("/api/reload", {}))
        except LoraLoopError as error:
            failed = True
            rows.append({"url": url, "process": process, "applied": [], "restart": [], "error": str(error)})
    if as_data:
        print_data(rows)
    else:
        for row in rows:
            where = row["process"] if len(rows) <= 2 else f"{row['process']} at {row['url']}"
            changes = Changes(row["process"], row["applied"], row["restart"])
            tell(f"{where}: {row.get('error') or changes}")
    if failed:
        raise typer.Exit(1)


def said(comment: str) -> dict[str, str]:
    """Who asks for it, and why, for the ledger."""
    return {"actor": f"cli:{getpass.getuser()}", "comment": comment}


def tell_switch(done: dict[str, Any]) -> None:
    """Say how the change reached the gateways, and whose votes it held."""
    tell(f"Done: {done['gateways']} gateways had it after {done['ms']:.0f} ms, {done['in_flight']} requests in flight.")
    if held := done.get("quarantine"):
        tell(held["reason"] + (f" See them with: loraloop quarantine show {held['id']}" if held["id"] else ""))
