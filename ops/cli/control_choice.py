"""Which control a command speaks to, and the options that name one: `--url` and `--context`.

The first of these that is there: `--url`, `--context`, LORALOOP_URL, LORALOOP_CONTEXT, the configuration file, the
current context. A key belongs to its URL: a context uses its own key, everything else uses LORALOOP_KEY.
"""

import functools
import inspect
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import InputError, SettingsError
from core.settings import Settings, config_folder, load
from ops import contexts
from ops.cli.terminal import DEFAULT_CONFIG, tell
from ops.client import ControlClient, own_url

VARIABLE = "LORALOOP_CONTEXT"
PANEL = "Control"
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="The URL of control. Needs no configuration; the key is LORALOOP_KEY.", rich_help_panel=PANEL
    ),
]
ContextOption = Annotated[
    str | None, typer.Option("--context", help="A context of loraloop login: its URL and key.", rich_help_panel=PANEL)
]
Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Named:
    """The control that the options of a command name."""

    url: str | None = None
    context: str | None = None


NAMED: ContextVar[Named] = ContextVar("NAMED", default=Named())  # noqa: B039  # it cannot be changed


def contexts_file() -> Path:
    """The file of the user's contexts."""
    return config_folder() / "contexts.yaml"


def local(command: Command) -> Command:
    """Mark a command that has a configuration file and speaks to no control, or only to this machine's."""
    setattr(command, "is_local", True)  # noqa: B010
    return command


def with_control(command: Command) -> Command:
    """A command with `--url` and `--context`, if it speaks to control: if it has `--config` and is not local."""
    signature = inspect.signature(command, eval_str=True)
    if "config" not in signature.parameters or getattr(command, "is_local", False):
        return command

    @functools.wraps(command)
    def chosen(*args: Any, url: str | None = None, context: str | None = None, **kwargs: Any) -> None:
        if url and context:
            raise InputError("--url and --context both name a control.", hint="Leave one of them out.")
        token = NAMED.set(Named(url, context))
        try:
            command(*args, **kwargs)
        finally:
            NAMED.reset(token)

    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter("url", keyword, default=None, annotation=UrlOption),
        inspect.Parameter("context", keyword, default=None, annotation=ContextOption),
    ]
    setattr(chosen, "__signature__", signature.replace(parameters=[*signature.parameters.values(), *more]))  # noqa: B010
    chosen.__annotations__ = {**command.__annotations__, "url": UrlOption, "context": ContextOption}
    return chosen


def client_of(config: Path) -> ControlClient:
    """Return a client of the control that is named. Raises InputError or SettingsError.

    An environment that names one, and another one by `--config`, is refused: a change could reach the wrong one.
    """
    named = NAMED.get()
    if named.url:
        return ControlClient(url=named.url)
    if named.context:
        return _client_of_context(named.context)
    url, context = own_url(), os.environ.get(VARIABLE)
    if url and context:
        raise InputError(f"LORALOOP_URL and {VARIABLE} both name a control.", hint="Unset one of them.")
    if (url or context) and config != DEFAULT_CONFIG:
        where = f"LORALOOP_URL names control at {url}" if url else f"{VARIABLE} names the context {context}"
        raise InputError(f"{where}, and --config {config} too.", hint="Leave one of them out.")
    if url:
        tell(f"Control at {url}")
        return ControlClient()
    if context:
        return _client_of_context(context)
    current = contexts.read(contexts_file()).current
    if config != DEFAULT_CONFIG or config.is_file():
        settings = load(config)
        if current:
            tell(f"Control at {settings.control_url}, by {config}. The context {current} needs: --context {current}")
        return ControlClient(settings)
    if current:
        return _client_of_context(current)
    raise SettingsError(
        f"No control is named: there is no configuration at {config}, and no context.",
        hint="For a control elsewhere: loraloop login --url URL. For one on this machine: loraloop init",
    )


def client_beside(settings: Settings) -> ControlClient:
    """The client of a command that needs the settings too: of the control of its options, else of the settings."""
    named = NAMED.get()
    return client_of(DEFAULT_CONFIG) if named.url or named.context else ControlClient(settings)


def _client_of_context(name: str) -> ControlClient:
    context = contexts.read(contexts_file()).get(name)
    tell(f"Control at {context.url}, by the context {name}")
    return ControlClient(url=context.url, key=context.key, key_hint=f"Do: loraloop login --context {name}")
