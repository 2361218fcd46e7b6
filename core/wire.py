"""Records as the spool's payloads: JSON with a `kind`.

It owns the names on the wire; it must not know where a payload goes.
"""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson

from core.records import Feedback, Interaction, Revocation

Record = Interaction | Feedback | Revocation
KINDS: dict[str, type[Interaction] | type[Feedback] | type[Revocation]] = {
    "interaction": Interaction,
    "feedback": Feedback,
    "revocation": Revocation,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def encode(record: Record) -> bytes:
    """A record as bytes."""
    return orjson.dumps({"kind": NAMES[type(record)], **asdict(record)})


def decode(payload: bytes) -> Record:
    """The inverse of `encode`. Raises ValueError, KeyError or TypeError on anything else."""
    data: Any = orjson.loads(payload)
    if not isinstance(data, dict):
        raise ValueError("a record is a JSON object")
    kind: Any = KINDS[data.pop("kind")]
    return kind(**(data | {"time": datetime.fromisoformat(data["time"])}))
