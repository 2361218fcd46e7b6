"""Why a label was given: a user volunteered it, the app asked for it, or a reviewer drew or chose its answer."""

import json
from collections.abc import Mapping
from typing import Literal

from core.names import REVIEWER
from feedback.schema import CONSOLE

Origin = Literal["volunteered", "asked", "drawn", "reviewer"]
# The `metadata` of labels on answers from the random part of the console's queue. core/db/label_selection.sql and
# core/db/interactions.sql read it too.
DRAWN = {"drawn": "random"}


def origin_of(user: str | None, metadata: Mapping[str, str], asked: bool) -> Origin:
    """The origin of a label by its user and metadata, and whether its answer was marked.

    Only the console and keys with `ops:write` can give a label of a reviewer.
    """
    if (user or "").startswith(REVIEWER):
        return "drawn" if metadata.items() >= DRAWN.items() and metadata.get("source") == CONSOLE else "reviewer"
    return "asked" if asked else "volunteered"


def origin_of_row(user: str | None, metadata: str | None, asked: bool | None) -> Origin:
    """The origin of a label as the store has it: `metadata` is JSON."""
    return origin_of(user, json.loads(metadata or "{}"), bool(asked))
