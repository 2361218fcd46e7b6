"""A message to people and programs: what a target sends."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """A title and lines for people, how grave it is (`info`, `success`, `warning` or `failure`), and fields.

    `id` is the same each time that it is sent, so that a receiver can ignore a repetition. `type` is a word such as
    `alarm.began`, and `data` has only values that JSON has.
    """

    title: str
    body: str
    kind: str
    id: str
    type: str
    time: datetime
    data: dict[str, Any]
