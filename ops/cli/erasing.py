"""The command that erases a user."""

import time
from typing import Annotated, Any

import typer

from ops.cli.change_report import print_changed
from ops.cli.changes import Comment, said
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    agreed,
    out,
    tell,
)

LOOK_SECONDS = 0.5
COUNTS = {
    "interactions": "interactions; their counts and times stay",
    "feedback": "rows of feedback",
    "texts_of_others": "comments and corrections of others on this user's answers",
    "stored_completions": "stored completions",
    "dead_letters": "dead letters",
    "regressions": "examples of evaluations",
    "snapshot_rows": "rows of snapshots",
    "answers": "cached answers of evaluations, of all users",
}
NAMED = {
    "versions": "These versions learnt from the user and do not change",
    "holdouts": "These holdouts judged with the user",
    "backups": "These backups are older and still have the user",
    "ledger_rows": "These rows of the ledger name the user and cannot change",
}


def erase(
    user: Annotated[str, typer.Option("--user", help="The user, as apps send it in `user`.")],
    key: Annotated[str | None, typer.Option("--key", help="Only this key's user, by the key's id.")] = None,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Erase everything that one user wrote, and the user's name. Prints a receipt."""
    client = client_of(config)
    asked = {"user": user} | ({"key": key} if key else {})
    found = client.post("/api/erasures/preview", asked)
    if dry_run and as_data:
        print_changed(found, dry_run=True)
        return
    _describe(found)
    if not agreed("This cannot be undone. Folders before-restore-… are deleted too.", yes, dry_run):
        return
    receipt = client.post("/api/erasures", asked | said(comment))
    while receipt["state"] != "done":
        time.sleep(LOOK_SECONDS)
        receipt = client.get(f"/api/erasures/{receipt['id']}")
    if as_data:
        print_changed(receipt)
    else:
        for old, new in receipt["snapshots"].items():
            out.print(f"Snapshot {old[:12]} is now {new[:12]}.", markup=False)
        for segment in receipt["segments"]:
            out.print(f"{segment} is still there: its gateway does not run, or control refuses it.", markup=False)
        out.print(f"Erased: {receipt['id']}, user hash {receipt['user_hash'][:16]}.", markup=False)


def _describe(found: dict[str, Any]) -> None:
    for kind, what in COUNTS.items():
        if found["counts"][kind]:
            tell(f"{found['counts'][kind]} {what}")
    for kind, what in NAMED.items():
        if found[kind]:
            tell(f"{what}: {', '.join(map(str, found[kind]))}.")
