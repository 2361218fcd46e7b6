"""Generate the references under docs/ from the code: configuration, its JSON schema, command line, HTTP API, types.

`python -m tools.docs_reference` writes them; with --check it fails if one is not up to date.
"""

import json
import re
import sys
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.errors import LoraLoopError
from core.settings import Settings

DOCS = Path("docs")
TYPES = {str: "text", int: "integer", float: "number", bool: "flag", Path: "path"}


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
        "| `LORALOOP_NOTIFY_URLS` | targets of notifications for control: URLs of apprise and `webhook+https://…`, "
        "separated by spaces |",
        "| `LORALOOP_WEBHOOK_SECRET` | secret that signs webhooks: `whsec_` with base64 of 24 to 64 bytes |",
        "| `LORALOOP_OIDC_CLIENT_SECRET` | secret of LoraLoop at the provider of `login.oidc`, for control |",
        "| `LORALOOP_INTERNAL_KEY` | the key between gateways and control; `loraloop up` makes one automatically |",
        "| `LORALOOP_METRICS_KEY` | a key with the scope `metrics`, for Prometheus |",
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


CLI_HEAD = """# Command line

`loraloop COMMAND --help` prints the same for one command. Data goes to stdout, messages and questions to stderr. Made
from `ops/cli/` by `make docs`.

| exit code | meaning |
|---|---|
@EXIT_CODES@

| variable | meaning |
|---|---|
| `LORALOOP_KEY` | the API key that commands send to control |
| `LORALOOP_CONFIG` | the configuration file, instead of `loraloop.yaml` |
| `LORALOOP_URL` | the URL of control. Commands that only talk to control need no configuration file then. |
| `LORALOOP_CONTEXT` | the context that commands use, see `loraloop login` |

A command speaks to the first control that is named: `--url`, `--context`, `LORALOOP_URL`, `LORALOOP_CONTEXT`, the
configuration file, the current context. A context sends its own key, everything else sends `LORALOOP_KEY`. An
environment that names a control is refused together with `--config`.
"""


def command_line() -> str:
    """Return docs/cli.md: one section per command, with its arguments and options as a table."""
    import typer

    from ops.cli.app import app
    from ops.cli.exit_codes import MEANINGS
    from ops.cli.help_examples import EXAMPLES

    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in MEANINGS.items())
    sections: list[str] = []
    index: list[str] = []

    def add(command: Any, words: list[str]) -> None:
        nested = getattr(command, "commands", {})
        if words and not nested:
            name = " ".join(words)
            index.append(f"| [`{name}`](#loraloop-{name.replace(' ', '-')}) | {_summary(command)} |")
            sections.append(_command(command, name, EXAMPLES.get(name, ())))
        for word, child in nested.items():
            add(child, [*words, word])

    add(typer.main.get_command(app), [])
    return "\n".join(
        [CLI_HEAD.replace("@EXIT_CODES@", codes), "| command | purpose |", "|---|---|", *index, "", *sections]
    )


def _summary(command: Any) -> str:
    """The first sentence of a command's help."""
    text = " ".join((command.help or "").split("\n\n", 1)[0].split())
    return text.replace("|", "\\|")


def _command(command: Any, name: str, examples: Iterable[str]) -> str:
    """The section of one command."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts]
    usage = " ".join([name, *(_placeholder(p) for p in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"## loraloop {name}", "", _summary(command), "", "```", f"loraloop {usage}", "```", ""]
    if arguments or options:
        lines += ["| argument or option | type | default | meaning |", "|---|---|---|---|"]
        lines += [_parameter(parameter) for parameter in (*arguments, *options)]
        lines.append("")
    examples = list(examples)
    if examples:
        lines += ["Example:", "", "```sh", *examples, "```", ""]
    return "\n".join(lines)


def _placeholder(argument: Any) -> str:
    name = argument.name.upper()
    return name if argument.required else f"[{name}]"


def _parameter(parameter: Any) -> str:
    """One row of the table: the names, the type with its range, the default and the help text."""
    is_option = parameter.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in parameter.opts) if is_option else f"`{parameter.name.upper()}`"
    annotation = parameter.type_descriptor.annotation
    item = typing.get_args(annotation)[0] if typing.get_origin(annotation) is list else annotation
    kind = TYPES.get(item, getattr(item, "__name__", str(item)).lower())
    if isinstance(item, type) and issubclass(item, Enum):
        kind = ", ".join(f"`{member.value}`" for member in item)
    low, high = parameter.min, parameter.max
    kind += "" if low is None else f" >= {low:g}"
    kind += "" if high is None else f"{' and' if low is not None else ''} <= {high:g}"
    kind += ", repeatable" if parameter.multiple else ""
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif callable(default) or default is None or default is False or default == []:
        shown = "–"
    else:
        shown = f"`{default}`"
    meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"| {names} | {kind} | {shown} | {meaning} |"


def api() -> str:
    """Return docs/api.md: every route of gateway and control."""
    from tools import docs_api

    return docs_api.page()


def typescript() -> str:
    """Return docs/loraloop.d.ts, for clients in TypeScript."""
    from tools.typescript import types

    return types()


def terms() -> str:
    """Return ops/console/glossary.json: the meaning of each word of docs/glossary.md, which the console shows."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    return json.dumps({word: meaning for word, meaning in rows if word != "word"}, indent=2, ensure_ascii=False) + "\n"


PAGES = {
    "configuration.md": configuration,
    "loraloop.schema.json": schema,
    "cli.md": command_line,
    "api.md": api,
    "loraloop.d.ts": typescript,
    "../ops/console/glossary.json": terms,
}


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
