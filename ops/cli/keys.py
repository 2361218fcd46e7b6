"""Commands about API keys: create, list, revoke, rotate.

A key goes to stdout, once, and everything that is said of it to stderr.
"""

from datetime import timedelta
from functools import partial
from typing import Annotated, Any

import typer

from core.api_keys import GRANTABLE, read_duration
from core.clock import utc_now
from core.errors import AlreadyDone, NotFound
from core.settings import nearest
from ops.cli.change_report import Mode, carry_out, print_changed
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    agreed,
    show,
    tell,
)
from ops.client import ControlClient

SCOPES = ", ".join(GRANTABLE)
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as in llk_<id>_….")]
Name = Annotated[str, typer.Argument(help="Whose key it is.")]


def _known(scopes: list[str]) -> list[str]:
    """The scopes as they are. Raises BadParameter with the nearest one."""
    for scope in scopes:
        if scope not in GRANTABLE:
            near = nearest(scope, GRANTABLE)
            hint = f"Did you mean {near}?" if near else f"Take one of {SCOPES}."
            raise typer.BadParameter(f"{scope!r} is no scope. {hint}")
    return scopes


Scopes = Annotated[
    list[str],
    typer.Option("--scope", help=f"What it opens; again for more. One of: {SCOPES}.", callback=_known),
]
Models = Annotated[list[str], typer.Option("--model", help="A model it may use; again for more. Default: all.")]
Expires = Annotated[str | None, typer.Option("--expires", help="90d, 12h, 30m, 45s. Default: never.")]
Requests = Annotated[int | None, typer.Option("--requests-per-minute", min=1, help="At each gateway.")]
Tokens = Annotated[int | None, typer.Option("--tokens-per-minute", min=1, help="At each gateway.")]
Concurrent = Annotated[int | None, typer.Option("--concurrent", min=1, help="Requests at once, likewise.")]
Grace = Annotated[str, typer.Option("--grace", help="How long the old secret still opens: 1h, 0.")]


def create(
    name: Name,
    scope: Scopes,
    model: Models = [],  # noqa: B006  # typer reads it, nobody changes it
    expires: Expires = None,
    requests_per_minute: Requests = None,
    tokens_per_minute: Tokens = None,
    concurrent: Concurrent = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Make a key and print it, this once."""
    body = {
        "name": name,
        "scopes": scope,
        "models": model or None,
        "expires_in_s": read_duration(expires).total_seconds() if expires else None,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrent": concurrent,
    }
    made = client_of(config).post("/api/keys", body)
    _print_key(made, as_data)
    tell(f"The key {made['id']} of {name} is shown only now. It opens: {', '.join(scope)}.")


def listing(config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """List all keys, the revoked too; never their secrets."""
    rows = client_of(config).get("/api/keys")
    columns = {
        "id": "id",
        "name": "name",
        "opens": "scopes",
        "uses": "models",
        "requests_per_minute": "requests/min",
        "tokens_per_minute": "tokens/min",
        "concurrent": "at once",
        "created": "created (UTC)",
        "creator": "by",
        "expires": "expires (UTC)",
        "rotated": "rotated (UTC)",
        "revoked": "revoked (UTC)",
    }
    if not as_data:
        for row in rows:
            row["opens"] = " ".join(row["scopes"])
            row["uses"] = " ".join(row["models"]) if row["models"] else "all"
    show(rows, as_data, columns, "No keys yet. Make one with: loraloop keys create NAME --scope infer")


def revoke(
    identity: KeyId,
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """End a key permanently. Gateways refuse it within a second."""
    client = client_of(config)
    plan = _open_key(client, identity) | {"revoked": utc_now()} if dry_run else {}
    act = partial(client.post, f"/api/keys/{identity}/revoke", {})
    if carry_out(f"The key {identity} ends permanently.", act, plan, Mode(yes, dry_run, as_data)):
        tell("Revoked.")


def rotate(
    identity: KeyId,
    grace: Grace = "0",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Give a key a new secret and print it, this once; scopes and limits stay."""
    seconds = read_duration(grace).total_seconds()
    old = f"opens for another {grace}" if seconds else "opens nothing any more"
    client = client_of(config)
    asked = f"The key {identity} gets a new secret; the old one {old}."
    if dry_run:
        now = utc_now()
        plan = _open_key(client, identity)
        plan |= {"key": None, "rotated": now, "previous_until": now + timedelta(seconds=seconds)}
        carry_out(asked, dict, plan, Mode(yes, dry_run, as_data))
    elif agreed(asked, yes, dry_run):
        _print_key(client.post(f"/api/keys/{identity}/rotate", {"grace_s": seconds}), as_data)
        tell(f"The new secret of the key {identity} is shown only now.")


def _print_key(made: dict[str, Any], as_data: bool) -> None:
    """Print a new key alone, or as data with all that is known of it."""
    if as_data:
        print_changed(made)
    else:
        print(made["key"])


def _open_key(client: ControlClient, identity: str) -> dict[str, Any]:
    """The row of a key in `loraloop keys`. Raises NotFound, or AlreadyDone if it is revoked."""
    row = next((row for row in client.get("/api/keys") if row["id"] == identity), None)
    if row is None:
        raise NotFound("key", identity, hint="See: loraloop keys list")
    if row["revoked"]:
        raise AlreadyDone(f"The key {identity} is revoked already.", hint="See: loraloop keys list")
    return row
