"""Evidence: what an evaluation measured, as plain data for a gate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from eval.kpis.arrays import Floats, Ints
from eval.kpis.common_words import CommonWord
from eval.kpis.direction import Better
from eval.kpis.label_selection import LabelSelection


@dataclass(frozen=True, slots=True)
class ArmScores:
    """One arm's scores of n items: probabilities (n, k), mass on the labels (n,), prompt tokens (n,).

    `latency_ms` holds the latency of some items, sent one at a time. It is empty if no item was timed.
    """

    probabilities: Floats
    mass: Floats
    prompt_tokens: Ints
    latency_ms: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, slots=True)
class Measure:
    """A KPI of one arm with its 95% interval. A bound that cannot be computed is NaN."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus another arm on the same items. `lower` and `upper` are one-sided bounds at `level`."""

    value: float
    lower: float
    upper: float
    level: float


@dataclass(frozen=True, slots=True)
class SuiteEvidence:
    """The result of one guardrail suite in its own KPI, such as "hallucination".

    `arms` holds the KPI of each arm over the suite's `n` items. `difference` is candidate minus champion on the same
    items. `relative` is candidate over champion minus one. Both are None if the champion was not measured.
    `resolvable` is the difference that these items show with 80% power. `users` is the number of users that the items
    come from, 0 if they come from none. `better` is the direction of a user's own KPI, None for a KPI of LoraLoop.

    A suite that could not be measured has `n` 0 and the reason in `missing`, so that a gate notices it.
    """

    kpi: str
    n: int
    arms: dict[str, Measure]
    difference: Difference | None = None
    relative: Difference | None = None
    resolvable: float = math.inf
    missing: str = ""
    users: int = 0
    better: Better | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """Items that share a value of a dimension: their number, voters, and candidate minus champion in `kpi`.

    `words` are those that prompts of lost items share.
    """

    dimension: str
    value: str
    kpi: str
    n: int
    voters: int
    difference: Difference
    words: tuple[CommonWord, ...] = ()

    @property
    def name(self) -> str:
        """The slice in words: `app shop`."""
        return f"{self.dimension} {self.value}"

    @property
    def is_measured(self) -> bool:
        """Whether the difference and its bounds are numbers."""
        found = self.difference
        return all(map(math.isfinite, (found.value, found.lower, found.upper)))


@dataclass(frozen=True, slots=True)
class SliceEvidence:
    """The judged slices, the lowest difference first, and the number of slices with too few items or voters.

    `level` is that of each bound. `least` is the number of items, as they weigh, from which on a slice is judged.
    """

    slices: tuple[Slice, ...]
    small: int
    least: int
    level: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """One evaluation: KPIs by arm, and the candidate's paired differences by KPI and arm.

    `suites` holds guardrail suites by KPI. `relative` is candidate over champion minus one, by KPI, if measured.
    `champion_is_base` means that the champion has no adapter, so that a ratio of latencies has no meaning.
    `candidate_is_rag` means that the candidate uses retrieval, so that there is no RAG arm to compare it with.
    `selection` says which labels are of answers that were right. None if the model does not answer with labels.
    `slices` compares parts of the items. None if they were not compared.
    """

    n: int
    users: int
    arms: dict[str, dict[str, Measure]]
    differences: dict[str, dict[str, Difference]]
    confusion: dict[str, list[list[int]]]
    holdout: str = ""
    holdout_use: int = 1
    suites: Mapping[str, SuiteEvidence] = field(default_factory=dict)
    champion_is_base: bool = False
    candidate_is_rag: bool = False
    relative: Mapping[str, Difference] = field(default_factory=dict)
    selection: LabelSelection | None = None
    slices: SliceEvidence | None = None
