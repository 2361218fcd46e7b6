"""LoraLoop's own rows: feedback as `POST /v1/feedback` takes it, interactions as `loraloop data export` writes them."""

from dataclasses import fields
from typing import Any, get_args

from core.errors import InputError
from core.records import Arm, Endpoint, Interaction
from feedback.formats.source import Part, Target, id_of, name_of
from feedback.imported_rows import parse_record, parse_time

INTERACTION = frozenset(field.name for field in fields(Interaction))
NEEDED = frozenset(("id", "time", "model", "endpoint", "arm", "status"))
NUMBERS = ("version", "share", "bucket", "status", "latency_ms", "ttft_ms", "prompt_tokens", "completion_tokens")
DEFAULTS: dict[str, Any] = {"version": 0, "share": 0.0, "latency_ms": 0.0, "streamed": False, "asked": False}


def matches(row: dict[str, Any]) -> bool:
    """Whether a row is one of these."""
    return ("type" in row and ("value" in row or "interaction_id" in row)) or row.keys() >= NEEDED


def parts(row: dict[str, Any], target: Target) -> list[Part]:
    """A row as records."""
    if row.keys() >= NEEDED:
        return [_interaction(row, target)]
    return [*parse_record(row, lambda: target.now)]


def _interaction(row: dict[str, Any], target: Target) -> Interaction:
    unknown = row.keys() - INTERACTION
    if unknown:
        raise InputError(f"{min(unknown)}: no such field of an interaction.", field=min(unknown))
    found: dict[str, Any] = {name: row.get(name) for name in INTERACTION}
    for name, default in DEFAULTS.items():
        found[name] = default if found[name] is None else found[name]
    for name in NUMBERS:
        if found[name] is not None and (isinstance(found[name], bool) or not isinstance(found[name], int | float)):
            raise InputError(f"{name}: takes a number.", field=name)
    for name, known in (("arm", get_args(Arm)), ("endpoint", get_args(Endpoint))):
        if found[name] not in known:
            raise InputError(f"{name}: takes one of {', '.join(known)}.", field=name)
    if not isinstance(found["asked"], bool):
        raise InputError("asked: takes true or false.", field="asked")
    if not isinstance(found["request"], dict | None):
        raise InputError("request: takes an object.", field="request")
    if not isinstance(found["choices"], list | None):
        raise InputError("choices: takes a list.", field="choices")
    found["time"] = parse_time("time", found["time"], target.now)
    found |= {name: name_of(name, found[name]) for name in ("user", "conversation")}
    return Interaction(**(found | {"id": id_of(found["id"]), "model": target.model or found["model"]}))
