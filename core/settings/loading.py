"""Read the settings from a YAML file, and turn each mistake into one sentence with a hint."""

from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError as EnvironmentRefused

from core.errors import SettingsError
from core.settings.environment import FILE, KEY_VARIABLES, read_keys
from core.settings.root import Settings
from core.settings.section import nearest
from core.settings.services import KeySettings


def load(path: Path) -> Settings:
    """Read the file. Raises SettingsError with the key, the mistake and the fix."""
    if not path.is_file():
        raise SettingsError(f"There is no configuration at {path}.", hint="Create one with: loraloop init")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise SettingsError(f"{path}{where} is not YAML: {problem}.", hint="Correct that line.") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path} contains no settings.", hint="Create one with: loraloop init")
    return build(content, source=str(path))


def build(content: dict[str, Any], *, source: str = "settings") -> Settings:
    """Return settings from plain data and the environment. Raises SettingsError."""
    if "keys" in content:
        raise SettingsError(
            f"{source}: keys: secrets are not allowed in the file.",
            hint=f"Set {', '.join(KEY_VARIABLES.values())} in the environment, or the same name with {FILE} to a path.",
        )
    for name in content:
        if not isinstance(name, str):
            raise SettingsError(
                f"{source}: {name!r} is not a setting.", hint="Setting names are text; put it in quotes."
            )
    keys = KeySettings.model_validate(read_keys())
    try:
        return Settings(**content, keys=keys)
    except ValidationError as error:
        raise SettingsError(f"{source}: {_sentence(error)}") from error
    except EnvironmentRefused as error:
        raise SettingsError(
            f"The environment: {error}.",
            hint="Set each key of a section in its own variable, such as LORALOOP_GATEWAY__LISTEN.",
        ) from error


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = nearest(str(first["loc"][-1]), _keys_at(first["loc"][:-1]))
        return f"{where} is not a setting.{f' Did you mean {near}?' if near else ''}"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}." if where else f"{message}."


def _keys_at(where: tuple[int | str, ...]) -> list[str]:
    section: Any = Settings
    for part in where:
        fields = section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else {}
        annotation = fields[str(part)].annotation if str(part) in fields else section
        nested = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        section = nested[0] if nested else section
    return list(section.model_fields)
