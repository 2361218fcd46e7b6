"""F1 of the tool that an answer calls first, by tool, from the calls of the references."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.prompts import Prompt, tools_of
from eval.kpis import classification
from eval.kpis.arrays import Floats, Ints
from eval.kpis.structured import first_tool

TOOL_F1 = "tool_name_f1"


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """The number of the tool that is called first: by reference and by answer, (m,), of the `items` of n that have
    tools. No call is a class of its own."""

    items: Ints
    wanted: Ints
    called: Ints
    names: tuple[str, ...]

    @property
    def value(self) -> float:
        """The macro F1 over the tools that references call, in all items."""
        return float(self._f1(np.ones((1, len(self.items))))[0])

    def f1(self, weights: Floats) -> Floats:
        """The same in each resample: weights (b, n) to (b,)."""
        return self._f1(weights[:, self.items])

    def _f1(self, weights: Floats) -> Floats:
        answers = np.eye(len(self.names))[self.called]
        with np.errstate(invalid="ignore"):  # a resample without items with tools has none
            return classification.resampled("macro_f1", self.wanted, answers, weights)


def tool_calls(answers: Sequence[tuple[Prompt, str, str]]) -> ToolCalls | None:
    """The calls of (prompt, answer, reference) items, None if none has tools."""
    items = [place for place, (prompt, _, _) in enumerate(answers) if tools_of(prompt)]
    if not items:
        return None
    wanted = [first_tool(answers[place][2]) for place in items]
    called = [first_tool(answers[place][1]) for place in items]
    names = tuple(dict.fromkeys([*sorted(set(wanted)), *sorted(set(called))]))
    numbers = {name: number for number, name in enumerate(names)}
    return ToolCalls(
        np.array(items, dtype=np.int64),
        np.array([numbers[name] for name in wanted], dtype=np.int64),
        np.array([numbers[name] for name in called], dtype=np.int64),
        names,
    )
