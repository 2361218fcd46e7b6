"""Encode records as payloads of the spool: JSON with a `kind`, or a list of them that is read as a whole."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from core.records import Feedback, Interaction, Revocation, StoredCompletion

Record = Interaction | Feedback | Revocation | StoredCompletion
KINDS: dict[str, type[Interaction] | type[Feedback] | type[Revocation] | type[StoredCompletion]] = {
    "interaction": Interaction,
    "feedback": Feedback,
    "revocation": Revocation,
    "stored": StoredCompletion,
}
BEGINNINGS = {kind: f'{{"kind":"{name}",'.encode() for name, kind in KINDS.items()}


def encode(record: Record) -> bytes:
    """A record as bytes: its fields and its kind side by side."""
    # orjson reads dataclasses itself; `asdict` would copy a whole request first.
    return BEGINNINGS[type(record)] + orjson.dumps(record)[1:]


def encode_all(records: Sequence[Record]) -> bytes:
    """Encode records as one payload, which is read as a whole or not at all."""
    return b"[" + b",".join(map(encode, records)) + b"]"


def decode(payload: bytes) -> Record:
    """The inverse of `encode`. Raises ValueError, KeyError or TypeError on anything else."""
    return _record(orjson.loads(payload))


def decode_all(payload: bytes) -> list[Record]:
    """The records of either kind of payload. Raises like `decode`."""
    data: Any = orjson.loads(payload)
    return [_record(entry) for entry in data] if isinstance(data, list) else [_record(data)]


def _record(data: Any) -> Record:
    if not isinstance(data, dict):
        raise ValueError("a record is a JSON object")
    kind: Any = KINDS[data.pop("kind")]
    return kind(**(data | {"time": datetime.fromisoformat(data["time"])}))
