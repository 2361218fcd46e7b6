"""Generate the references under docs/ from the code: configuration, its JSON schema, command line, HTTP API.

`python -m tools.docs_reference` writes them; with --check it fails if one is not up to date.
"""

import json
import os
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.errors import LoraLoopError
from core.settings import Settings

DOCS = Path("docs")


def configuration() -> str:
    """Return docs/configuration.md: one table per section."""
    lines = [
        "# Configuration",
        "",
        "LoraLoop reads one YAML file, `loraloop.yaml` by default. `loraloop init` writes a first one. A variable",
        "such as `LORALOOP_GATEWAY__LISTEN` overrides the file. Secrets come only from the environment. An unknown key",
        "is an error that names the nearest known key. Made from `core/settings/` by `make docs`.",
        "",
        "`loraloop keys create` makes [keys](how-to/keys.md) and stores hashes of them. The environment has these:",
        "",
        "| secret | what it is |",
        "|---|---|",
        "| `LORALOOP_KEY` | the key that the command line sends to control |",
        "| `LORALOOP_APP_KEY` | a key with the scopes `infer` and `feedback`, for gateways |",
        "| `LORALOOP_OPS_KEY` | a key with the scope `admin`; with it, LoraLoop makes no first key |",
        "| `LORALOOP_NOTIFY_URLS` | targets of notifications for control: apprise URLs, separated by spaces |",
        "| `LORALOOP_INTERNAL_KEY` | the key between gateways and control; `loraloop up` makes one automatically |",
    ]
    for title, section in _sections(Settings, ""):
        lines += ["", f"## {title or 'top level'}", "", (section.__doc__ or "").strip(), ""]
        lines += ["| key | type and range | default | what it is |", "|---|---|---|---|"]
        found = section.model_json_schema()
        for name, field in section.model_fields.items():
            if name != "keys":
                lines.append(_row(name, field, _kind(found["properties"][name], found.get("$defs", {}))))
    return "\n".join(lines) + "\n"


def _sections(section: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, section
    for name, field in section.model_fields.items():
        nested = _nested(field.annotation)
        if nested and name != "keys":
            many = {dict: ".NAME", list: "[]"}.get(typing.get_origin(field.annotation) or object, "")
            yield from _sections(nested, f"{path}.{name}{many}".lstrip("."))


def _nested(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _row(name: str, field: FieldInfo, kind: str) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    nested = _nested(field.annotation)
    if field.is_required():
        shown = "required"
    elif nested:
        shown = "see below"
    else:
        shown = f"`{json.dumps(default, default=str)}`"
    description = field.description or (nested.__doc__ or "" if nested else "")
    return f"| `{name}` | {kind} | {shown} | {description.strip().replace('|', chr(92) + '|')} |"


def _kind(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return type and range of a value of the JSON schema in words."""
    match value:
        case {"$ref": reference}:
            words = _kind(definitions[reference.rpartition("/")[2]], definitions)
        case {"anyOf": choices}:
            words = " or ".join(_kind(one, definitions) for one in choices)
        case {"enum": choices}:
            words = ", ".join(f"`{one}`" for one in choices)
        case {"type": "array", "items": items}:
            words = _kind(items, definitions)
            words = f"list of {words}s" if words.isalpha() else f"list of {words}"
        case {"type": "object", "additionalProperties": dict(items)}:
            words = f"mapping from name to {_kind(items, definitions)}"
        case {"type": "object"}:
            words = "section"
        case {"type": "null"}:
            words = "`null`"
        case _:
            words = value["type"] + _range(value)
    return words


def _range(value: dict[str, Any]) -> str:
    words = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
    limits = [
        f"{sign} {value[word]:g}" if value[word] < 1e6 else f"{sign} {value[word]}"
        for word, sign in words
        if word in value
    ]
    return f" {' and '.join(limits)}" if limits else ""


def schema() -> str:
    """Return docs/loraloop.schema.json, for editors."""
    found = _without_titles(Settings.model_json_schema())
    found["properties"].pop("keys")
    found["$defs"].pop("KeySettings")
    return json.dumps(found, indent=1) + "\n"


def _without_titles(value: Any) -> Any:
    """Drop the titles that pydantic makes from names: they only repeat them."""
    if isinstance(value, dict):
        return {key: _without_titles(one) for key, one in value.items() if key != "title" or isinstance(one, dict)}
    return [_without_titles(one) for one in value] if isinstance(value, list) else value


def command_line() -> str:
    """Return docs/cli.md: the help text of every command."""
    os.environ.update(TERM="dumb", COLUMNS="100", _TYPER_FORCE_DISABLE_TERMINAL="1")
    import typer
    from typer.testing import CliRunner

    from ops.cli.app import app

    runner = CliRunner()
    lines = ["# Command line", "", "What each command says of itself. Made by `make docs`."]

    def add(command: Any, words: list[str]) -> None:
        text = runner.invoke(app, [*words, "--help"]).output
        lines.extend(["", f"## loraloop {' '.join(words)}".rstrip(), "", "```"])
        lines.extend(line.rstrip() for line in text.strip().splitlines())
        lines.append("```")
        for name, nested in getattr(command, "commands", {}).items():
            add(nested, [*words, name])

    add(typer.main.get_command(app), [])
    return "\n".join(lines) + "\n"


def api() -> str:
    """Return docs/api.md: every route of gateway and control."""
    from tools import docs_api

    return docs_api.page()


PAGES = {"configuration.md": configuration, "loraloop.schema.json": schema, "cli.md": command_line, "api.md": api}


def main(check: bool) -> None:
    """Write the pages or compare them. Raises LoraLoopError for a page that is not up to date."""
    for name, make in PAGES.items():
        file, text = DOCS / name, make()
        if not check:
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            raise LoraLoopError(f"docs/{name} is not up to date.", hint="Run: make docs")


if __name__ == "__main__":
    try:
        main("--check" in sys.argv[1:])
    except LoraLoopError as error:
        sys.exit(f"error: {error}")
