"""Arrange the rows of a step by adapter slot, for few and large matrix products."""

from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
import torch

FEW_ROWS = 64
"""Rows with an adapter up to which the compiled loop is used; at 32 it takes half of the products' time."""

LONG_RUN = 64
"""Rows in a row from which a product goes straight into the output, with nothing gathered."""

SMALL_STACK = 256
"""Padded rows up to which slots share a product however uneven: a call costs more than the rows."""


@dataclass(frozen=True, slots=True)
class Span:
    """Rows `start` to `stop` of the step, all of one slot."""

    slot: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Stack:
    """Scattered rows of `count` adjacent slots, padded to `depth` rows for each.

    `padded` [count * depth] says which row of the step is in each place: a slot's spare places
    repeat one of its own rows, so that no row ever meets another slot's weights. `positions` says
    in which place each result is found, and `rows` to which row of the step it belongs; `rows` is
    None where the results are all rows of the step in order.
    """

    first: int
    count: int
    depth: int
    padded: torch.Tensor
    positions: torch.Tensor
    rows: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Few:
    """All rows with an adapter, when they are few: `rows[starts[n]:starts[n + 1]]` of `slots[n]`."""

    slots: np.ndarray
    starts: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, slots=True)
class Plan:
    """A step's rows by slot, as blocks that share no row, and as `few` where they are few.

    `rows` counts all rows of the step. Blocks and `few` both say everything; which to use depends
    on the layer's number type too. The plan of a step without adapters is false.
    """

    rows: int = 0
    blocks: tuple[Span | Stack, ...] = ()
    few: Few | None = None

    def __bool__(self) -> bool:
        return bool(self.blocks)


def group(slots: torch.Tensor) -> Plan:
    """Arrange the rows of a step by slot; rows of slot -1 (no adapter) are in no block.

    Args:
        slots: the slot of each row, int64 [rows].
    """
    values, lengths = torch.unique_consecutive(slots, return_counts=True)
    runs = []
    start = 0
    for slot, length in zip(values.tolist(), lengths.tolist(), strict=True):
        if slot >= 0:
            runs.append(Span(slot, start, start + length))
        start += length
    return Plan(len(slots), _blocks(runs, len(slots)), _few(runs))


def _few(runs: list[Span]) -> Few | None:
    if not 0 < sum(run.stop - run.start for run in runs) <= FEW_ROWS:
        return None
    rows_by_slot = _rows_by_slot(runs)
    slots = sorted(rows_by_slot)
    return Few(
        slots=np.array(slots),
        starts=np.array([0, *accumulate(len(rows_by_slot[slot]) for slot in slots)]),
        rows=np.array([row for slot in slots for row in rows_by_slot[slot]]),
    )


def _rows_by_slot(runs: list[Span]) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {}
    for run in runs:
        rows.setdefault(run.slot, []).extend(range(run.start, run.stop))
    return rows


def _blocks(runs: list[Span], rows_in_step: int) -> tuple[Span | Stack, ...]:
    if len(runs) == 1:
        return tuple(runs)
    spans = [run for run in runs if run.stop - run.start >= LONG_RUN]
    scattered = _rows_by_slot([run for run in runs if run.stop - run.start < LONG_RUN])
    stacks = [_stack(first, rows, rows_in_step) for first, rows in _neighbours(scattered)]
    return (*spans, *stacks)


def _neighbours(scattered: dict[int, list[int]]) -> list[tuple[int, list[list[int]]]]:
    """The first slot and the rows of each set of slots that one product should serve."""
    found = []
    for _, numbered in groupby(enumerate(sorted(scattered)), lambda item: item[1] - item[0]):
        slots = [slot for _, slot in numbered]
        rows = [scattered[slot] for slot in slots]
        padded = len(rows) * max(map(len, rows))
        if padded <= max(SMALL_STACK, 2 * sum(map(len, rows))):
            found.append((slots[0], rows))
        else:
            found.extend((slot, [scattered[slot]]) for slot in slots)
    return found


def _stack(first: int, rows_by_slot: list[list[int]], rows_in_step: int) -> Stack:
    depth = max(map(len, rows_by_slot))
    padded = []
    place_of_row = {}
    for number, rows in enumerate(rows_by_slot):
        place_of_row.update((row, number * depth + k) for k, row in enumerate(rows))
        padded += rows + rows[:1] * (depth - len(rows))
    ordered = sorted(place_of_row)
    return Stack(
        first=first,
        count=len(rows_by_slot),
        depth=depth,
        padded=torch.tensor(padded),
        positions=torch.tensor([place_of_row[row] for row in ordered]),
        rows=None if len(ordered) == rows_in_step else torch.tensor(ordered),
    )
