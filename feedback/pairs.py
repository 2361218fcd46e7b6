"""Pairs: answers to one prompt that users judged. DPO and KTO learn from them."""

from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from core.prompts import Prompt, from_json
from feedback.report_counts import count_both, count_rows, count_users

# Signals that compare two answers, and those that judge one.
COMPARING = ("preference", "correction")
RATING = ("thumbs", "rating")


@dataclass(frozen=True, slots=True)
class Pair:
    """A better and a worse answer to one prompt, as one voter judged them.

    With the signal `preference` both are answers of the model. With `correction` the better one is the correction.
    `thumbs` and `rating` judge one answer, and the other text is "". `interaction_id` is the better answer's, or that
    of the only answer; `other_id` is the worse answer's of a preference, else "". Users and weight are those of a row.
    """

    interaction_id: str
    other_id: str
    feedback_id: str
    user: str
    bucket: str
    prompt: Prompt
    chosen: str
    rejected: str
    signal: str
    time: str = ""
    asker: str = ""
    key_id: str = ""
    weight: float = 1.0

    @property
    def compares(self) -> bool:
        """Whether it has two answers."""
        return self.signal in COMPARING

    @property
    def answer(self) -> str:
        """The only answer of a thumb or a rating."""
        return self.chosen or self.rejected


TYPES: dict[object, pa.DataType] = {float: pa.float64()}
PAIR_SCHEMA = pa.schema([(field.name, TYPES.get(field.type, pa.string())) for field in fields(Pair)])


def pairs_of(table: pa.Table | None) -> list[Pair]:
    """The pairs of a table, none without one."""
    if table is None:
        return []
    return [Pair(**(entry | {"prompt": from_json(entry["prompt"])})) for entry in table.to_pylist()]


def count_pairs(table: pa.Table, left_out: dict[str, int]) -> dict[str, Any]:
    """What a report says of the pairs: counts by bucket and by signal, voters, and votes left out by reason."""
    return {
        "rows": count_rows(table, "bucket"),
        "users": count_users(table, "bucket"),
        "by_signal": count_both(table, "signal"),
        "left_out": left_out,
    }
