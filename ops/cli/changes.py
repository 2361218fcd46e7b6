"""Commands that change what serves: start a run, promote, roll back, approve, reject, reload.

With --dry-run each only says what it would do; otherwise it asks first, and without a terminal it needs --yes.
"""

import getpass
from contextlib import closing
from typing import Annotated, Any

import typer

from core.errors import AlreadyDone, LoraLoopError, NotFound, NotReady
from loraloop.calls import Server
from ops.apps.changed_settings import Changes
from ops.cli import run_progress
from ops.cli.control_choice import Gateways, chosen, client_of
from ops.cli.exit_codes import NOT_PROMOTED
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    agreed,
    tell,
)
from ops.client import ControlClient

ModelArgument = Annotated[str, typer.Argument(help="The model.")]
DecisionArgument = Annotated[str, typer.Argument(metavar="ID", help="The decision's id or number.")]
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
) -> None:
    """Put a version in service past the gate. The ledger says that a person did."""
    if agreed(f"{model}@{version} takes over, without a gate.", yes, dry_run):
        done = client_of(config).post(f"/api/models/{model}/promote", {"version": version, **said(comment)})
        tell_switch(done)


def rollback(
    model: ModelArgument,
    to: Annotated[int | None, typer.Option("--to", min=0, help="Default: what served before.")] = None,
    keep_data: KeepData = False,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Put an earlier version back. No request is lost. To go forward again: --to VERSION.

    While a canary runs, a rollback without --to stops the canary, and the champion stays. Votes against the version
    that leaves go to quarantine if they were a burst or contradict others, unless --keep-data.
    """
    client = client_of(config)
    now = find_model(client, model)
    if now is None:
        raise NotFound("model", model, hint="See: loraloop models")
    champion, canary = now["champion"], now["canary"]
    if to is None and canary is not None:
        stop_canary(client, now, comment, keep_data=keep_data, yes=yes, dry_run=dry_run)
        return
    to = now["rollback_to"] if to is None else to
    if to is None:
        raise NotReady(f"{model} has had no other champion.", hint=f"See: loraloop versions {model}")
    if to == champion:
        raise AlreadyDone(f"{model}@{to} is already the champion.")
    client.get(f"/api/models/{model}/versions/{to}")  # refused before a question, if there is none
    ends = "" if canary is None else f" The canary {model}@{canary} ends."
    asked = f"{model} goes back from {model}@{champion} to {model}@{to}.{ends} "
    if agreed(asked + votes_against(client, model, champion, keep_data), yes, dry_run):
        done = client.post(f"/api/models/{model}/rollback", {"to": to, "keep_data": keep_data, **said(comment)})
        tell_switch(done)


def find_model(client: ControlClient, model: str) -> dict[str, Any] | None:
    """Return the row of a model in `loraloop models`, None if control does not serve it."""
    return next(iter(client.get("/api/models", model=model)), None)


def votes_against(client: ControlClient, model: str, version: int, keep_data: bool) -> str:
    """What happens to votes against a version that leaves, in a sentence or two."""
    if keep_data:
        return "Nothing goes to quarantine (--keep-data)."
    found = client.get(f"/api/models/{model}/versions/{version}/suspects")
    review = " They are in quarantine until somebody reviews them. --keep-data prevents that." if found["held"] else ""
    return f"{found['reason']}{review}"


def stop_canary(
    client: ControlClient, now: dict[str, Any], comment: str, *, keep_data: bool, yes: bool, dry_run: bool
) -> None:
    """Stop the canary of a model, whose row in `loraloop models` is `now`."""
    model, canary = now["model"], now["canary"]
    asked = f"The canary {model}@{canary} stops. {model}@{now['champion']} serves everyone. "
    if agreed(asked + votes_against(client, model, canary, keep_data), yes, dry_run):
        body = {"version": canary, "keep_data": keep_data, **said(comment)}
        tell_switch(client.post(f"/api/models/{model}/canary/stop", body))


def approve(
    identity: DecisionArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Approve the step that a candidate waits for: the start of its canary, or its promotion."""
    client = client_of(config)
    step = client.get(f"/api/promotions/{identity}")["live"].get("step")
    what = "starts its canary" if step == "canary" else "takes over"
    if agreed(f"The candidate of decision {identity} {what}.", yes, dry_run):
        done = client.post(f"/api/promotions/{identity}/approve", said(comment))
        if step == "canary":
            tell(f"The canary of {done['model']}@{done['version']} has started.")
        else:
            tell_switch(done)


def reject(
    identity: DecisionArgument,
    comment: Annotated[str, typer.Option("--comment", "-m", help="Why. Required.")],
    keep_data: KeepData = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Reject a candidate that waits for approval.

    Votes against it go to quarantine if they were a burst or contradict others, unless --keep-data is given.
    """
    client = client_of(config)
    found = client.get(f"/api/promotions/{identity}")
    asked = f"The candidate {found['model']}@{found['to_version']} of decision {identity} is rejected. "
    if agreed(asked + votes_against(client, found["model"], found["to_version"], keep_data), yes, dry_run):
        client.post(f"/api/promotions/{identity}/reject", {"keep_data": keep_data, **said(comment)})
        tell("Rejected; the champion stays.")


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
