"""The `loraloop` command: all nouns with their verbs, and how errors end.

ops/cli/exit_codes.py has the exit codes.
"""

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from core.errors import LoraLoopError
from ops.cli import (
    adapters,
    agreement,
    alarms,
    approvals,
    audit,
    backup,
    canary,
    changes,
    contexts,
    data,
    dead_letters,
    erasing,
    freezes,
    help_examples,
    importing,
    installation,
    keys,
    notifications,
    plan,
    quarantine,
    reports,
    retention,
    runs,
    server,
    server_logs,
    snapshot,
    suites,
    top,
    usage,
)
from ops.cli.exit_codes import code_of
from ops.cli.nouns import Noun, Root, add
from ops.cli.terminal import err

CONTEXT = {"help_option_names": ["-h", "--help"]}
# What concerns the whole installation has no noun.
INSTALLATION: Mapping[str, Callable[..., None]] = {
    "init": installation.init,
    "prepare": installation.prepare,
    "up": server.up,
    "down": server.down,
    "status": server.status,
    "logs": server_logs.logs,
    "gateway": installation.gateway,
    "control": installation.control,
    "login": contexts.login,
    "logout": contexts.logout,
    "doctor": installation.check,
    "reload": changes.reload,
    "top": top.top,
    "plan": plan.plan,
    "usage": usage.usage,
}
NOUNS: Mapping[str, tuple[Noun, ...]] = {
    "Installation": (
        Noun(
            "server",
            "LoraLoop on this machine: start it, end it, see what runs.",
            {
                "up": server.up,
                "down": server.down,
                "status": server.status,
                "logs": server_logs.logs,
                "install": server.install,
            },
        ),
        Noun(
            "contexts",
            "Contexts: controls elsewhere, each with its URL and key.",
            {"list": contexts.listed, "use": contexts.use, "delete": contexts.delete},
            default="list",
        ),
    ),
    "Models": (
        Noun(
            "models",
            "What serves users: champions and canaries.",
            {
                "list": reports.models,
                "promote": changes.promote,
                "rollback": changes.rollback,
                "freeze": freezes.freeze,
                "unfreeze": freezes.unfreeze,
            },
            default="list",
        ),
        Noun(
            "versions",
            "Versions of a model: adapters and retrievals.",
            {
                "list": reports.versions,
                "show": reports.one_version,
                "evaluate": suites.evaluate,
                "import": adapters.import_adapter,
            },
            default="list",
        ),
        Noun(
            "runs",
            "Runs: each makes a candidate from feedback and judges it.",
            {
                "list": reports.runs,
                "start": changes.retrain,
                "show": runs.show,
                "cancel": runs.cancel,
                "pause": runs.pause,
                "resume": runs.resume,
            },
            default="list",
        ),
        Noun(
            "canary",
            "Canaries: candidates that serve a share of users.",
            {
                "stop": canary.stop,
                "pause": canary.pause,
                "resume": canary.resume,
                "set-share": canary.set_share,
            },
        ),
        Noun(
            "promotions",
            "The log of decisions, and what waits for a person.",
            {
                "list": reports.promotions,
                "show": reports.promotion,
                "approve": approvals.approve,
                "reject": approvals.reject,
                "verify": reports.verify,
            },
            default="list",
        ),
        Noun("suites", "Suites: what evaluations ask.", {"list": suites.suites}, default="list"),
    ),
    "Data": (
        Noun(
            "feedback",
            "What users and reviewers said of answers.",
            {"count": reports.feedback, "agreement": agreement.agreement},
            default="count",
        ),
        Noun(
            "quarantine",
            "Votes held back from training for review.",
            {
                "list": quarantine.listed,
                "show": quarantine.votes,
                "hold": quarantine.hold,
                "release": quarantine.release,
                "reject": quarantine.reject,
            },
            default="list",
        ),
        Noun(
            "snapshots",
            "Snapshots: the rows that runs train on and are judged by.",
            {"show": snapshot.show_report, "export": snapshot.export},
        ),
        Noun(
            "data",
            "Interactions and feedback: bring in, take out, erase.",
            {"import": importing.bring_in, "export": data.take_out, "erase": erasing.erase},
        ),
        Noun(
            "retention",
            "How long data is kept, and its deletion.",
            {"show": retention.show, "run": retention.run, "log": retention.log},
        ),
        Noun(
            "dead-letters",
            "Records of gateways that could not become a row.",
            {
                "list": dead_letters.listed,
                "show": dead_letters.content,
                "replay": dead_letters.replay,
                "drop": dead_letters.drop,
            },
            default="list",
        ),
    ),
    "Administration": (
        Noun(
            "keys",
            "API keys: what opens what, and how much of it.",
            {"create": keys.create, "list": keys.listing, "revoke": keys.revoke, "rotate": keys.rotate},
            default="list",
        ),
        Noun(
            "audit",
            "The audit log: who did or read what, newest first.",
            {"list": audit.audit, "verify": audit.verify},
            default="list",
        ),
        Noun(
            "alarms",
            "Alarms of control, critical ones first.",
            {"list": alarms.alarms, "silence": alarms.silence},
            default="list",
        ),
        Noun(
            "notifications",
            "Notifications: the state of each target, and a test.",
            {"status": notifications.status, "test": notifications.send_test},
            default="status",
        ),
        Noun(
            "backup",
            "Backups of all data.",
            {"create": backup.backup, "restore": backup.restore},
            default="create",
        ),
    ),
}
app = typer.Typer(
    name="loraloop",
    cls=Root,
    context_settings=CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def print_version(wanted: bool) -> None:
    """Print the installed version, and exit."""
    if wanted:
        print(f"loraloop {installed_version('loraloop')}")
        raise typer.Exit


@app.callback()
def top_level(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Serve LoRA adapters on vLLM, retrain them from feedback, promote only what measurably wins."""


for word, command in INSTALLATION.items():
    add(app, word, command, "Installation")
for panel, nouns in NOUNS.items():
    for noun in nouns:
        app.add_typer(noun.group(), name=noun.name, rich_help_panel=panel)
help_examples.teach(app)


def main() -> None:
    """Runs the command; an error of ours is one sentence with its fix, and the exit code of its kind."""
    try:
        app()
    except LoraLoopError as error:
        err.print(f"error: {error}", style="red", markup=False)
        sys.exit(code_of(error))


if __name__ == "__main__":
    main()
