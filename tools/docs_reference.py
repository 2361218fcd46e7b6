"""The references under docs/, made from the code: configuration, its JSON schema, command line, HTTP API.

`python -m tools.docs_reference` writes them; with --check it fails when one is stale, and says how to mend it.
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
    """docs/configuration.md: a table for each section."""
    lines = [
        "# Configuration",
        "",
        "One YAML file, `loraloop.yaml` by default; `loraloop init` writes one to begin with. The environment wins",
        "over the file (`LORALOOP_GATEWAY__LISTEN`), secrets come from the environment alone. An unknown key is an",
        "error that names the nearest right one. Made from `core/settings.py` by `make docs`.",
        "",
        "`loraloop keys create` makes [keys](how-to/keys.md), which are kept as hashes. These stand beside them:",
        "",
        "| secret | what it is |",
        "|---|---|",
        "| `LORALOOP_KEY` | the key that the command line shows to control |",
        "| `LORALOOP_APP_KEY` | a key with the scopes `infer` and `feedback`, for gateways |",
        "| `LORALOOP_OPS_KEY` | a key with the scope `admin`; with it, no first key is made |",
        "| `LORALOOP_NOTIFY_URLS` | where notifications go: apprise URLs with spaces between; control reads it |",
        "| `LORALOOP_INTERNAL_KEY` | between gateways and control; `loraloop up` makes one by itself |",
    ]
    for title, section in _sections(Settings, ""):
        lines += ["", f"## {title or 'top level'}", "", (section.__doc__ or "").strip(), ""]
        lines += ["| key | default | what it is |", "|---|---|---|"]
        lines += [_row(name, field) for name, field in section.model_fields.items() if name != "keys"]
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


def _row(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    nested = _nested(field.annotation)
    if field.is_required():
        shown = "required"
    elif nested:
        shown = "see below"
    else:
        shown = f"`{json.dumps(default, default=str)}`"
    description = field.description or (nested.__doc__ or "" if nested else "")
    return f"| `{name}` | {shown} | {description.strip().replace('|', chr(92) + '|')} |"


def schema() -> str:
    """docs/loraloop.schema.json, for editors."""
    found = Settings.model_json_schema()
    found["properties"].pop("keys")
    found["$defs"].pop("KeySettings")
    return json.dumps(found, indent=1) + "\n"


def command_line() -> str:
    """docs/cli.md: the help of every command, as it prints."""
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
    """docs/api.md: every route of gateway and control."""
    from tools import docs_api

    return docs_api.page()


PAGES = {"configuration.md": configuration, "loraloop.schema.json": schema, "cli.md": command_line, "api.md": api}


def main(check: bool) -> None:
    """Writes the pages, or compares them. Raises LoraLoopError on a stale one."""
    for name, make in PAGES.items():
        file, text = DOCS / name, make()
        if not check:
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            raise LoraLoopError(f"docs/{name} is not in step with the code.", hint="Run: make docs")


if __name__ == "__main__":
    try:
        main("--check" in sys.argv[1:])
    except LoraLoopError as error:
        sys.exit(f"error: {error}")
