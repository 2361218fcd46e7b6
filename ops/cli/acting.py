"""Commands that change what serves: retrain, promote, rollback, approve, reject.

With --dry-run each only says what it would do; otherwise it asks first, and off a terminal it wants --yes.
"""

import getpass
from typing import Annotated, Any

import typer

from ops.cli import following
from ops.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    ControlClient,
    DryRun,
    JsonOption,
    Yes,
    agreed,
    print_json,
    settings_from,
    tell,
)

# How a script tells "evaluated, not promoted" from success and failure.
NOT_PROMOTED = 3

ModelArgument = Annotated[str, typer.Argument(help="The model.")]
DecisionArgument = Annotated[str, typer.Argument(metavar="ID", help="The decision's id or number.")]
Comment = Annotated[str, typer.Option("--comment", "-m", help="Kept in the ledger.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (retrain, promote, rollback, approve, reject):
        app.command()(command)


def retrain(model: ModelArgument, comment: Comment = "",
            wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
            exit_code: Annotated[bool, typer.Option("--exit-code", help="With --wait: 3 when not promoted.")] = False,
            json: JsonOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:  # fmt: skip
    """Start a run now, whatever the schedule says. The gate judges its candidate like any other."""
    client = _client(config)
    before = {run["id"] for run in client.get("/api/runs", model=model)}
    client.post(f"/api/models/{model}/retrain", said(comment))
    if not wait:
        tell(f"A run of {model} is queued. Follow it with: loraloop runs {model}")
        return
    run = following.follow(client, model, before)
    if json:
        print_json(run)
    tell(f"{run['id']} is {run['state']}. {run['reason'] or ''}")
    if run["state"] == "failed":
        raise typer.Exit(1)
    if exit_code and "promoted" not in {decision["verdict"] for decision in run["decisions"]}:
        raise typer.Exit(NOT_PROMOTED)


def promote(model: ModelArgument, version: Annotated[int, typer.Argument(min=0, help="The version.")],
            comment: Comment = "", yes: Yes = False, dry_run: DryRun = False,
            config: ConfigOption = DEFAULT_CONFIG) -> None:  # fmt: skip
    """Put a version in service past the gate. The ledger says that a person did."""
    if agreed(f"{model}@{version} takes over, without a gate.", yes, dry_run):
        done = _client(config).post(f"/api/models/{model}/promote", {"version": version, **said(comment)})
        _tell_switch(done)


def rollback(model: ModelArgument,
             to: Annotated[int | None, typer.Option("--to", min=0, help="Default: what served before.")] = None,
             comment: Comment = "", yes: Yes = False, dry_run: DryRun = False,
             config: ConfigOption = DEFAULT_CONFIG) -> None:  # fmt: skip
    """Put an earlier version back. No request is lost, and another rollback undoes it."""
    client = _client(config)
    if to is None:
        to = next((row["rollback_to"] for row in client.get("/api/models") if row["model"] == model), None)
    target = "the version before" if to is None else f"{model}@{to}"
    if agreed(f"{model} goes back to {target}.", yes, dry_run):
        _tell_switch(client.post(f"/api/models/{model}/rollback", {"to": to, **said(comment)}))


def approve(identity: DecisionArgument, comment: Comment = "", yes: Yes = False, dry_run: DryRun = False,
            config: ConfigOption = DEFAULT_CONFIG) -> None:  # fmt: skip
    """Let a candidate that passed its gates take over."""
    if agreed(f"The candidate of decision {identity} takes over.", yes, dry_run):
        _tell_switch(_client(config).post(f"/api/promotions/{identity}/approve", said(comment)))


def reject(identity: DecisionArgument, comment: Comment = "", yes: Yes = False, dry_run: DryRun = False,
           config: ConfigOption = DEFAULT_CONFIG) -> None:  # fmt: skip
    """Turn a candidate that waits for approval away."""
    if agreed(f"The candidate of decision {identity} is turned away.", yes, dry_run):
        _client(config).post(f"/api/promotions/{identity}/reject", said(comment))
        tell("Rejected; the champion stays.")


def _client(config: Any) -> ControlClient:
    return ControlClient(settings_from(config))


def said(comment: str) -> dict[str, str]:
    """Who asks for it, and why, for the ledger."""
    return {"actor": f"cli:{getpass.getuser()}", "comment": comment}


def _tell_switch(done: dict[str, Any]) -> None:
    tell(f"Done: {done['gateways']} gateways had it after {done['ms']:.0f} ms, {done['in_flight']} requests in flight.")
