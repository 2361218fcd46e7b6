"""Contexts: names of controls elsewhere, each with its URL and its key, in a file of the user's own.

The file has mode 600. A file that others can read is refused.
"""

import os
import re
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from core.errors import InputError, NotFound, SettingsError
from core.settings import config_folder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Context:
    """Where a control is, and the key for it. An empty key is for a control with `access: open`."""

    url: str
    key: str = field(default="", repr=False)


@dataclass(slots=True)
class Contexts:
    """All contexts by name, and the one that is used if none is named."""

    by_name: dict[str, Context] = field(default_factory=dict)
    current: str | None = None

    def get(self, name: str) -> Context:
        """One context. Raises NotFound."""
        if name not in self.by_name:
            known = (
                f"There are: {', '.join(self.by_name)}." if self.by_name else "Make one with: loraloop login --url URL"
            )
            raise NotFound("context", name, hint=known)
        return self.by_name[name]

    def put(self, name: str, context: Context) -> None:
        """Add or replace a context, which is the current one from now on. Raises InputError."""
        if not NAME.fullmatch(name):
            raise InputError(f"{name!r} is no name of a context.", hint="Use at most 64 letters, digits, ., _ and -.")
        self.by_name[name] = context
        self.current = name


def contexts_file() -> Path:
    """The file of the user's contexts."""
    return config_folder() / "contexts.yaml"


def read(path: Path) -> Contexts:
    """The contexts of a file; without the file there are none. Raises SettingsError."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise SettingsError(f"{path} has keys, and others may read it.", hint=f"Do: chmod 600 {path}")
            content = yaml.safe_load(file)
        found = {name: Context(**one) for name, one in content["contexts"].items()}
        return Contexts(found, content.get("current"))
    except FileNotFoundError:
        return Contexts()
    except (OSError, yaml.YAMLError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
        # Without the cause, whose text may have a key.
        raise SettingsError(
            f"{path} cannot be read as contexts.", hint="Delete it, and do: loraloop login --url URL"
        ) from None


def write(path: Path, contexts: Contexts) -> None:
    """Replace the file. Nobody else can read it at any moment. Raises SettingsError."""
    content = {
        "current": contexts.current,
        "contexts": {name: asdict(context) for name, context in contexts.by_name.items()},
    }
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            yaml.safe_dump(content, file, sort_keys=False)
        os.replace(part, path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.", hint="Set XDG_CONFIG_HOME.") from None
    finally:
        part.unlink(missing_ok=True)
