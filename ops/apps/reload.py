"""Reads the configuration again while a process runs. How a process takes other settings is its own business."""

import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.acts import Act, act
from core.errors import LoraLoopError, NotReady, SettingsError
from core.route_list import RouteList
from core.settings import Settings, load
from ops.apps.changed_settings import Changes, Part, merge

log = logging.getLogger(__name__)


def read_again(settings: Settings, config: Path | None, part: Part) -> Settings:
    """The settings with what can change of the file as it is now. With a file that cannot be used they stay."""
    if config is None:
        return settings
    try:
        return merge(settings, load(config), part)[0]
    except SettingsError as error:
        log.error("the configuration was not read again: %s", error)
        return settings


class Reloader:
    """Reads the file again on demand and has its process take what can change.

    `signalled` is called after each reload that a signal asked for. With `starting`, signals wait until `started`.
    """

    def __init__(
        self,
        config: Path | None,
        settings: Settings,
        part: Part,
        apply: Callable[[Settings], None],
        signalled: Callable[[], None] = lambda: None,
        starting: bool = False,
    ) -> None:
        self._config = config
        self._settings = settings
        self._part = part
        self._apply = apply
        self._signalled = signalled
        self._one = threading.Lock()
        self._started = threading.Event()
        if not starting:
            self._started.set()

    def started(self) -> None:
        """The process can take settings from now on."""
        self._started.set()

    def reload(self) -> Changes:
        """Takes what changed. Raises SettingsError or NotReady; then all is as it was."""
        if self._config is None:
            raise NotReady("This process was started without a configuration file.", hint="Restart it.")
        with self._one:
            settings, changes = merge(self._settings, load(self._config), self._part)
            if changes.applied:
                self._apply(settings)
            self._settings = settings
        log.log(logging.WARNING if changes.restart else logging.INFO, "configuration reloaded: %s", changes)
        return changes

    def on_signal(self, *_: object) -> None:
        """The same for SIGHUP, whose sender reads the outcome in the log."""
        threading.Thread(target=self._tell, name="reload", daemon=True).start()

    def _tell(self) -> None:
        self._started.wait()
        try:
            self.reload()
            self._signalled()
        except LoraLoopError as error:
            log.error("the configuration was not reloaded, nothing changed: %s", error)
        except Exception:
            log.exception("the configuration was not reloaded")


def create_router(take: Callable[[], Awaitable[Changes]]) -> RouteList:
    """The route by which a process reads its configuration again."""
    router = RouteList(prefix="/api")

    @router.post("/reload")
    @act(Act.SETTINGS_RELOAD)
    async def reload() -> dict[str, Any]:
        """Read the configuration again; says what took effect and what needs a restart."""
        return asdict(await take())

    return router
