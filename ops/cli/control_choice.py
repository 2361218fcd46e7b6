"""Which control a command speaks to, and the options that name one: `--url` and `--context`.

The first of these that is there: `--url`, `--context`, LORALOOP_URL, LORALOOP_CONTEXT, the configuration file, the
current context. A key belongs to its URL: a context uses its own key, everything else uses LORALOOP_KEY.
"""

import os
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import InputError, SettingsError
from core.settings import Settings, load, read_keys
from loraloop.calls import Server
from ops import contexts
from ops.cli.signatures import Command, option, parameters_of, with_parameters
from ops.cli.terminal import DEFAULT_CONFIG, tell
from ops.client import ControlClient, own_url
from ops.contexts import contexts_file

VARIABLE = "LORALOOP_CONTEXT"
PANEL = "Control"
Gateways = Annotated[
    list[str],
    typer.Option("--gateway", help="URL of a gateway; again for more. Default: the configuration's."),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="The URL of control. Needs no configuration; the key is LORALOOP_KEY.", rich_help_panel=PANEL
    ),
]
ContextOption = Annotated[
    str | None, typer.Option("--context", help="A context of loraloop login: its URL and key.", rich_help_panel=PANEL)
]


@dataclass(frozen=True, slots=True)
class Named:
    """The control that the options of a command name."""

    url: str | None = None
    context: str | None = None


NAMED: ContextVar[Named] = ContextVar("NAMED", default=Named())  # noqa: B039  # it cannot be changed


def local(command: Command) -> Command:
    """Mark a command that has a configuration file and speaks to no control, or only to this machine's."""
    setattr(command, "is_local", True)  # noqa: B010
    return command


def with_control(command: Command) -> Command:
    """A command with `--url` and `--context`, if it speaks to control: if it has `--config` and is not local."""
    parameters = parameters_of(command)
    if "config" not in parameters or getattr(command, "is_local", False):
        return command

    def chosen(*args: Any, url: str | None = None, context: str | None = None, **kwargs: Any) -> None:
        if url and context:
            raise InputError("--url and --context both name a control.", hint="Leave one of them out.")
        token = NAMED.set(Named(url, context))
        try:
            command(*args, **kwargs)
        finally:
            NAMED.reset(token)

    more = (option("url", UrlOption), option("context", ContextOption))
    return with_parameters(command, chosen, [*parameters.values(), *more])


@dataclass(frozen=True, slots=True)
class Choice:
    """The control that a command speaks to, and the key for it.

    `settings` are those of the configuration, if it names the control. `said` is what the person should know.
    """

    url: str
    key: str = field(default="", repr=False)
    key_hint: str = ""
    settings: Settings | None = None
    said: str = ""

    def client(self, server: Server = "control", url: str | None = None) -> ControlClient:
        """A client of this control, or of a gateway at `url` that accepts the same key. Raises InputError."""
        if self.settings:
            return ControlClient(self.settings, server=server, url=url)
        return ControlClient(server=server, url=url or self.url, key=self.key, key_hint=self.key_hint)

    def gateways(self, given: list[str]) -> list[str]:
        """URLs of gateways: those that are given, else the one of the configuration. Says so if there is none."""
        if given:
            return [url.rstrip("/") for url in given]
        if self.settings:
            return [f"http://{self.settings.gateway.listen}"]
        tell("No gateway is named: --gateway URL")
        return []


def client_of(config: Path) -> ControlClient:
    """Return a client of the control that is named, and say which one if it is not obvious. Raises LoraLoopError."""
    return chosen(config).client()


def chosen(config: Path) -> Choice:
    """Return the control that is named, and say which one if it is not obvious. Raises InputError or SettingsError."""
    found = choose(config)
    if found.said:
        tell(found.said)
    return found


def choose(config: Path) -> Choice:
    """Return the control that is named. Raises InputError or SettingsError.

    An environment that names one, and another one by `--config`, is refused: a change could reach the wrong one.
    """
    named = NAMED.get()
    if named.url:
        return Choice(named.url, read_keys().get("own", ""))
    if named.context:
        return _by_context(named.context)
    url, context = own_url(), os.environ.get(VARIABLE)
    if url and context:
        raise InputError(f"LORALOOP_URL and {VARIABLE} both name a control.", hint="Unset one of them.")
    if (url or context) and config != DEFAULT_CONFIG:
        where = f"LORALOOP_URL names control at {url}" if url else f"{VARIABLE} names the context {context}"
        raise InputError(f"{where}, and --config {config} too.", hint="Leave one of them out.")
    if url:
        return Choice(url, read_keys().get("own", ""), said=f"Control at {url}")
    if context:
        return _by_context(context)
    current = contexts.read(contexts_file()).current
    if config != DEFAULT_CONFIG or config.is_file():
        settings = load(config)
        beside = f"Control at {settings.control_url}, by {config}. The context {current} needs: --context {current}"
        return Choice(settings.control_url, _key_of(settings), settings=settings, said=beside if current else "")
    if current:
        return _by_context(current)
    raise SettingsError(
        f"No control is named: there is no configuration at {config}, and no context.",
        hint="For a control elsewhere: loraloop login --url URL. For one on this machine: loraloop init",
    )


def _key_of(settings: Settings) -> str:
    return settings.bearer.get("Authorization", "").removeprefix("Bearer ")


def _by_context(name: str) -> Choice:
    context = contexts.read(contexts_file()).get(name)
    said = f"Control at {context.url}, by the context {name}"
    return Choice(context.url, context.key, key_hint=f"Do: loraloop login --context {name}", said=said)
