"""Commands for LoraLoop on this machine: start it, end it, and see what runs."""

from dataclasses import asdict
from typing import Annotated

import typer

from ops.cli import exit_codes
from ops.cli.change_report import print_changed
from ops.cli.control_choice import local
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    agreed,
    err,
    out,
    settings_from,
    show,
    tell,
)

Detach = Annotated[
    bool,
    typer.Option("--detach", "-d", help="Return when everything is ready; the processes go on without a terminal."),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=0,
        help="Seconds to wait for a graceful end; then processes are killed. Default: gateway.drain_seconds + 80.",
    ),
]
System = Annotated[
    bool, typer.Option("--system/--user", help="A unit of the machine, which root installs, or of the present user.")
]
RunAs = Annotated[
    str | None, typer.Option("--run-as", help="With --system: the user to run as. Default: the owner of the file.")
]
Variables = Annotated[
    list[str], typer.Option("--env", "-e", metavar="NAME=VALUE", help="A variable of the unit; again for more.")
]
SENTENCES = {
    "ready": "LoraLoop is ready.",
    "not ready": "LoraLoop runs, but is not ready.",
    "starting": "LoraLoop starts.",
    "orphaned": "loraloop up was killed. What it had started goes on, and is not restarted if it dies.",
    "stopped": "LoraLoop does not run.",
}
COLUMNS = {"part": "process", "state": "state", "pid": "PID", "since": "since (UTC)", "url": "URL", "why": "why"}


@local
def up(detach: Detach = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Start engine, control and gateway on this machine, and restart what dies. Without -d: until Ctrl-C."""
    settings = settings_from(config)
    if not detach:
        from ops.local import up as in_front

        in_front.run(settings, config, tell)
        return
    from ops.local import detached

    with err.status("Starting"):
        detached.start(settings, config, tell)
    tell("See it with: loraloop server status, loraloop server logs -f. End it with: loraloop server down")


@local
def down(timeout: Timeout = None, config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """End LoraLoop on this machine: what `loraloop up` started on the data folder, and no other process.

    Requests in progress are answered first. It is no error if nothing runs.
    """
    from ops.local import shutdown

    settings = settings_from(config)
    stopped = shutdown.stop(settings, tell, grace_s=timeout)
    if as_data:
        print_changed({"stopped": stopped, "data": str(settings.data)})
    if not stopped:
        tell("Nothing runs.")


@local
def status(config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """Show each process of this machine: since when it runs, and whether it is ready or why not.

    Exit code 0: everything is ready. 5: nothing runs. 7: something is not ready.
    """
    from ops.local import server_status

    found = server_status.examine(settings_from(config))
    if as_data:
        print_data(asdict(found))
    else:
        out.print(SENTENCES[found.state], style="bold", markup=False)
        if found.pid:
            out.print(f"loraloop up: process {found.pid}, by {found.config}", markup=False, highlight=False)
        rows = [asdict(part) | {"since": part.since and part.since.isoformat()} for part in found.parts]
        if rows:
            show(rows, False, COLUMNS, "")
    if found.state != "ready":
        raise typer.Exit(exit_codes.NOT_FOUND if found.state == "stopped" else exit_codes.NOT_READY)


@local
def install(
    system: System = False,
    run_as: RunAs = None,
    env: Variables = [],  # noqa: B006  Typer copies it
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Write a systemd unit that runs LoraLoop from this configuration. --dry-run prints it on stdout instead.

    It starts nothing, and says which command does. Install again after a change of gateway.drain_seconds.
    """
    from ops.local import systemd_unit
    from ops.local.systemd_unit import Unit

    if run_as and not system:
        raise typer.BadParameter("a unit of a user runs as that user.", param_hint="--run-as")
    settings, place = settings_from(config), config.resolve()
    user = (run_as or systemd_unit.owner(place)) if system else None
    unit = Unit(systemd_unit.command_of_this_process(), place, user, systemd_unit.read_variables(env))
    path, text = systemd_unit.place(user), unit.text(settings)
    unit_row = {"path": str(path), "unit": text, "replaced": path.exists()}
    if dry_run:
        if as_data:
            print_changed(unit_row, dry_run=True)
        else:
            print(text, end="")
        tell(f"This is {path}. Nothing was done (--dry-run).")
        return
    if path.exists() and path.read_text(encoding="utf-8") != text and not agreed(f"{path} is replaced.", yes, False):
        return
    systemd_unit.write(path, text)
    if as_data:
        print_changed(unit_row)
    systemctl = "sudo systemctl" if system else "systemctl --user"
    tell(f"Wrote {path}. Next: {systemctl} daemon-reload && {systemctl} enable --now loraloop")
    if not system:
        tell("To let it run without a login: loginctl enable-linger")
