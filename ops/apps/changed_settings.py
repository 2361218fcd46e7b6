"""What of a changed configuration takes effect at once, and what needs a restart."""

from dataclasses import dataclass
from typing import Any

from core.errors import SettingsError
from core.settings import Settings, build


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
        found = self.prefix_of(path)
        return found in self.live if found else None

    def prefix_of(self, path: str) -> str | None:
        """The longest of the part's paths that a setting belongs to, None if the process does not read it."""
        found = [each for each in (*self.live, *self.fixed) if path == each or path.startswith(f"{each}.")]
        return max(found, key=len, default=None)


LOGS = ("logs.level", "logs.format")
# Control reads which models keys may be limited to.
PASSED_ON = ("gateway.embeddings", "gateway.rerank")
GATEWAY = Part(
    "gateway",
    live=("access", "hosts", *LOGS, "gateway.max_in_flight", "gateway.max_body_bytes", "gateway.metrics"),
    fixed=("data", "logs", "tracing", "gateway", "control.listen"),
)
CONTROL = Part(
    "control",
    live=(
        *("access", "hosts", *LOGS, "control.check_seconds", "models", "retention", "notifications.verdicts", "alarms"),
        *("login", *PASSED_ON),
    ),
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
                _take(before, after, part.prefix_of(path) or path)
    if part.is_live("models"):
        before["models"] |= after["models"]
    try:
        merged = build(before)
    except SettingsError as error:
        raise SettingsError(
            f"What can change without a restart does not fit what cannot: {error.message}", hint="Restart instead."
        ) from error
    return merged, Changes(part.name, tuple(sorted(applied)), tuple(sorted(restart)))


def _flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Leaves by their dotted paths; an empty section is a leaf."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{path}{name}.")
        else:
            found[f"{path}{name}"] = value
    return found


def _take(tree: dict[str, Any], other: dict[str, Any], path: str) -> None:
    """Take a setting or a whole section, which may not have been there, from another tree."""
    *sections, name = path.split(".")
    for section in sections:
        tree, other = tree[section], other[section]
    tree[name] = other[name]
