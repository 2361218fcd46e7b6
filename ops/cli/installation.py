"""Commands that set up and run single processes: init, prepare, gateway, control, doctor.

It owns their options; the work is done elsewhere in `ops`.
"""

import gc
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core import logs
from core.errors import AlreadyDone, SettingsError
from core.model_folder import locate
from core.settings import Settings
from ops.cli import streams
from ops.cli.change_report import print_changed
from ops.cli.control_choice import local
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, out, settings_from, tell
from ops.local.config_template import STARTER

if TYPE_CHECKING:
    from ops.local.finding import Finding

# Objects made before the collector checks the youngest, and generations before it checks older ones.
GC_THRESHOLDS = (20_000, 20, 20)
WatchOption = Annotated[bool, typer.Option("--watch", help="Reload when the file changes, checked every 10 seconds.")]
MARKS = {"ok": "[green]ok[/]      ", "warning": "[yellow]warning[/] ", "fix": "[red]fix[/]     "}


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it. - is stdout.")] = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_data: AsData = False,
) -> None:
    """Write a commented configuration to begin with."""
    streams.require_free_stdout(path, as_data)
    if streams.is_stream(path):
        print(STARTER, end="")
        return
    replaced = path.exists()
    if replaced and not force:
        raise AlreadyDone(f"{path} exists already.", hint="Use --force to replace it.")
    path.write_text(STARTER, encoding="utf-8")
    if as_data:
        print_changed({"path": str(path), "replaced": replaced})
    tell(f"Wrote {path}. Next: loraloop doctor, then loraloop up")


@local
def prepare(config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """Fetch and unpack the base model, once."""
    from core.model_folder import prepare as prepare_base

    base = prepare_base(settings_from(config).base_model, tell)
    if as_data:
        print_changed({"name": base.name, "path": str(base.path)})
    tell(f"{base.name} is ready.")


@local
def gateway(watch: WatchOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run a gateway alone: the endpoint that apps call."""
    from ops.apps import config_watch
    from ops.apps.gateway import create_app, create_tracing
    from ops.apps.gateway_worker import OnlyWorker
    from ops.apps.http_server import serve
    from ops.apps.worker_supervisor import WorkerSupervisor

    def run(settings: Settings, worker: OnlyWorker, sockets: list[socket.socket] | None = None) -> None:
        app = create_app(settings=settings, tracing=create_tracing(settings), config=config, worker=worker)
        # Modules, routes and settings stay as long as the process. If the collector checked them repeatedly, it
        # would cost every tenth request some hundred microseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        serve(app, settings.gateway.listen, drain_s=settings.gateway.drain_seconds, sockets=sockets)

    if watch:
        config_watch.start(config)
    settings = settings_from(config)
    logs.install(settings.logs)
    if settings.gateway.workers == 1:
        run(settings, OnlyWorker(settings.gateway.name))
    elif code := WorkerSupervisor(settings, config, run).run():
        raise typer.Exit(code)


@local
def control(watch: WatchOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run control alone: store, scheduler, judge, ledger, console."""
    from ops.apps import config_watch
    from ops.apps.control import create_app
    from ops.apps.http_server import serve
    from ops.local.preparation import tell_first_key

    if watch:
        config_watch.start(config)
    settings = settings_from(config)
    logs.install(settings.logs)
    _require_internal_key(settings)
    tell_first_key(settings, tell)
    app = create_app(settings=settings, base=locate(settings.base_model), config=config)
    serve(app, settings.control.listen, settings.control.trusted_proxies)


@local
def check(
    fix: Annotated[
        bool, typer.Option("--fix", help="Fix what can lose nothing: a missing configuration, base model or file mode.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Check the installation: one line per check, with the command that fixes it. A warning is no failure."""
    from ops.local import doctor

    findings, fixed = doctor.repair(config, tell) if fix else (doctor.examine(config), {})
    for name, sentence in fixed.items():
        tell(f"{name}: {sentence}")
    if as_data:
        print_data([_row(finding, fixed.get(finding.name)) for finding in findings])
    else:
        for finding in findings:
            out.print(MARKS[finding.level], end="")
            out.print(f"{finding.name}: {finding.found}", markup=False, highlight=False)
            if finding.level != "ok":
                out.print(f"        {finding.fix}", markup=False, highlight=False)
    if not all(f.ok for f in findings):
        raise typer.Exit(1)


def _row(finding: "Finding", fixed: str | None) -> dict[str, Any]:
    """A finding as data. `fixable` says that --fix can fix it, and `fixed` what it did."""
    names = ("ok", "level", "found", "fix")
    row = {"check": finding.name} | {name: getattr(finding, name) for name in names}
    return row | {"fixable": finding.repair is not None and finding.level != "ok", "fixed": fixed}


def _require_internal_key(settings: Settings) -> None:
    if settings.keys.internal is None:
        raise SettingsError(
            "Control takes routes and feedback from gateways and needs a key for them.",
            hint="Set the same LORALOOP_INTERNAL_KEY for control and gateways, or use: loraloop up",
        )
