"""Reloading: what of a changed configuration takes effect at once, and what needs a restart.

It owns the lists of both; how a process takes other settings is the process's own business.
"""

import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter

from core.acts import Act, act
from core.errors import LoraLoopError, NotReady, SettingsError
from core.settings import Settings, build, load

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """What one process reads of the configuration: settings that may change while it runs, and those that may not.

    A longer path wins over a shorter one; the process does not use a path that is in neither.
    """

    name: str
    live: tuple[str, ...]
    fixed: tuple[str, ...]

    def is_live(self, path: str) -> bool | None:
        """Whether a setting may change while the process runs; None if it does not read it."""
        found = [
            (len(prefix), live)
            for live, prefixes in ((True, self.live), (False, self.fixed))
            for prefix in prefixes
            if path == prefix or path.startswith(f"{prefix}.")
        ]
        return max(found)[1] if found else None


LOGS = ("logs.level", "logs.format")
GATEWAY = Part(
    "gateway",
    live=("access", "hosts", *LOGS, "gateway.max_in_flight", "gateway.max_body_bytes", "gateway.metrics"),
    fixed=("data", "logs", "tracing", "gateway", "control.listen"),
)
CONTROL = Part(
    "control",
    live=("access", "hosts", *LOGS, "control.check_seconds", "models", "retention", "notifications.verdicts", "alarms"),
    fixed=("base_model", "data", "engine", "control", "notifications"),
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reload did: settings by their paths, those in effect now and those that wait for a restart."""

    process: str
    applied: tuple[str, ...]
    restart: tuple[str, ...]

    def __str__(self) -> str:
        said = [f"in effect: {', '.join(self.applied)}"] if self.applied else []
        said += [f"after a restart: {', '.join(self.restart)}"] if self.restart else []
        return "; ".join(said) or "nothing changed"


def merge(old: Settings, new: Settings, part: Part) -> tuple[Settings, Changes]:
    """The settings that a process can go on with, and how they differ from before. Raises SettingsError.

    A model that the file no longer has goes on until a restart.
    """
    before, after = (settings.model_dump(exclude={"keys"}) for settings in (old, new))
    was, will = _flat(before), _flat(after)
    gone = [name for name in before["models"] if name not in after["models"]]
    applied: set[str] = set()
    restart: set[str] = set()
    for path in was.keys() | will.keys():
        if path in was and path in will and was[path] == will[path]:
            continue
        live = part.is_live(path)
        if live is None:
            continue
        left = next((f"models.{name}" for name in gone if path.startswith(f"models.{name}.")), None)
        if left or not live:
            restart.add(left or path)
        else:
            applied.add(path)
            if not path.startswith("models."):
                _set(before, path, will[path])
    if part.is_live("models"):
        before["models"] |= after["models"]
    try:
        merged = build(before)
    except SettingsError as error:
        raise SettingsError(
            f"What can change without a restart does not fit what cannot: {error.message}", hint="Restart instead."
        ) from error
    return merged, Changes(part.name, tuple(sorted(applied)), tuple(sorted(restart)))


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


def create_router(take: Callable[[], Awaitable[Changes]]) -> APIRouter:
    """The route by which a process reads its configuration again."""
    router = APIRouter(prefix="/api")

    @router.post("/reload")
    @act(Act.SETTINGS_RELOAD)
    async def reload() -> dict[str, Any]:
        """Read the configuration again; says what took effect and what needs a restart."""
        return asdict(await take())

    return router


def _flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Leaves by their dotted paths; an empty section is a leaf."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{path}{name}.")
        else:
            found[f"{path}{name}"] = value
    return found


def _set(tree: dict[str, Any], path: str, value: Any) -> None:
    *sections, name = path.split(".")
    for section in sections:
        tree = tree[section]
    tree[name] = value
