"""Score the dev part as a holdout would: by the labels, or the preferences, that the adapter finds likelier.

It is measured in the trainer's own process, without an engine. Higher is better.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import Statistic, user_numbers
from eval.kpis.classification import POINT, resampled
from retrain.trainer.batches import Example, order_examples
from retrain.trainer.examples import Examples
from retrain.trainer.job import Job
from retrain.trainer.objectives import Scored, all_sums, reference_sums
from retrain.trainer.rendering import Renderer

# With fewer rows, chance would decide.
LEAST_ROWS = 20
# A share of this many rows has an error of at most 3.5 points. More rows would take longer than the training itself.
MOST_ROWS = 200
SCORE = "dev_score"
LABEL_KPIS = ("accuracy", "macro_f1")
MARGIN = "margin"


class DevScore(ABC):
    """A KPI of the dev part. `kpi` names it, `rows` says on how many rows it is measured."""

    kpi: str
    rows: int
    voters: Ints

    def measure(self, scored: Scored) -> dict[str, float]:
        """Return the score as `dev_score`, higher is better, with the figures that it is made of."""
        figures = self.figures(scored)
        # The area under the ROC curve is undefined where all rows have one label.
        score = figures[self.kpi] if math.isfinite(figures[self.kpi]) else figures[LABEL_KPIS[0]]
        return {SCORE: score} | {f"dev_{name}": value for name, value in figures.items() if math.isfinite(value)}

    @abstractmethod
    def figures(self, scored: Scored) -> Mapping[str, float]:
        """Return the KPI and others by name."""

    @abstractmethod
    def resampled(self, scored: Scored) -> Statistic:
        """Return the KPI as a function of the rows' weights in resamples."""


class LabelScore(DevScore):
    """How often the right label is the likeliest of all labels. A whole label counts, with the end of the answer."""

    def __init__(self, examples: Sequence[Example], truth: Sequence[int], kpi: str) -> None:
        """Each example has one sequence per label; `truth` (n,) is the number of the right one."""
        self.kpi, self.rows, self.voters = kpi, len(examples), voters_of(examples)
        self._examples = examples
        self._truth = np.array(truth, dtype=np.int64)

    def figures(self, scored: Scored) -> Mapping[str, float]:
        """Return accuracy, macro F1, and the KPI."""
        shares = self._shares(scored)
        return {name: POINT[name](self._truth, shares) for name in dict.fromkeys((*LABEL_KPIS, self.kpi))}

    def resampled(self, scored: Scored) -> Statistic:
        """Return the KPI as a function of the rows' weights."""
        return partial(resampled, self.kpi, self._truth, self._shares(scored))

    def _shares(self, scored: Scored) -> Floats:
        return all_sums(scored, self._examples).double().softmax(dim=1).cpu().numpy()


class PairScore(DevScore):
    """The share of pairs whose chosen answer gains more on the base model: what `preference_margin` measures."""

    kpi = MARGIN

    def __init__(self, examples: Sequence[Example], scored: Scored) -> None:
        self.rows, self.voters = len(examples), voters_of(examples)
        self._examples = examples
        self._reference = reference_sums(scored, examples)

    def figures(self, scored: Scored) -> Mapping[str, float]:
        """Return the share. A tie counts half, and each pair by its voter's weight."""
        wins, weights = self._wins(scored)
        return {MARGIN: float((wins * weights).sum() / weights.sum())}

    def resampled(self, scored: Scored) -> Statistic:
        """Return the share as a function of weights."""
        wins, weights = (values.double().cpu().numpy() for values in self._wins(scored))
        return lambda drawn: drawn @ (wins * weights) / (drawn @ weights)

    def _wins(self, scored: Scored) -> tuple[Tensor, Tensor]:
        gains = all_sums(scored, self._examples) - self._reference
        weights = torch.tensor([one.weight for one in self._examples], device=gains.device)
        return torch.heaviside(gains[:, 0] - gains[:, 1], gains.new_tensor(0.5)), weights


class RatedScore(DevScore):
    """The share of pairs of a liked and a disliked answer in which the liked one gains more on the base model."""

    kpi = MARGIN

    def __init__(self, examples: Sequence[Example], scored: Scored) -> None:
        self.rows, self.voters = len(examples), voters_of(examples)
        self._examples = [replace(one, sequences=one.sequences[:1]) for one in examples]
        self._reference = reference_sums(scored, self._examples)
        self._liked = torch.tensor([one.desirable for one in examples])

    def figures(self, scored: Scored) -> Mapping[str, float]:
        """Return the share, the area under the ROC curve of the gains. A tie counts half."""
        wins, weights = self._wins(scored)
        each = weights[self._liked][:, None] * weights[~self._liked][None]
        return {MARGIN: float((wins * each).sum() / each.sum())}

    def resampled(self, scored: Scored) -> Statistic:
        """Return the share as a function of weights. It is NaN in a resample without one of the kinds."""
        wins, weights = (values.double().numpy() for values in self._wins(scored))
        liked = self._liked.numpy()

        def share(drawn: Floats) -> Floats:
            first, second = drawn[:, liked] * weights[liked], drawn[:, ~liked] * weights[~liked]
            total = first.sum(1) * second.sum(1)
            found = ((first @ wins) * second).sum(1)
            return np.divide(found, total, out=np.full(len(drawn), math.nan), where=total > 0)

        return share

    def _wins(self, scored: Scored) -> tuple[Tensor, Tensor]:
        """Return for each liked (n,) and disliked answer (m,) who gains more, (n, m), and the weights of all."""
        gains = (all_sums(scored, self._examples) - self._reference)[:, 0].cpu()
        wins = torch.heaviside(gains[self._liked][:, None] - gains[~self._liked][None], gains.new_tensor(0.5))
        return wins, torch.tensor([one.weight for one in self._examples])


def voters_of(examples: Sequence[Example]) -> Ints:
    """Number the voters of examples, (n,)."""
    return user_numbers([one.voter for one in examples])


def choose_score(job: Job, scored: Scored, data: Examples, renderer: Renderer) -> DevScore | None:
    """Return the score of a job's dev part. None for corrections, which only have a loss, and where rows are too few.

    A KTO training is judged by held-out pairs, so it is scored by pairs where the dev part has enough.
    """
    if job.objective == "sft":
        if not job.labels:
            return None
        examples, truth = data.label_choices(renderer, "dev", job.labels, job.seed)
        enough = len(examples) >= LEAST_ROWS
        return LabelScore(examples[:MOST_ROWS], truth[:MOST_ROWS], job.kpi) if enough else None
    pairs = order_examples(data.pair_choices(renderer, "dev"), job.seed)[:MOST_ROWS]
    if len(pairs) >= LEAST_ROWS:
        return PairScore(pairs, scored)
    rated = order_examples(data.render(renderer, "dev")[0], job.seed)[:MOST_ROWS] if job.objective == "kto" else []
    both_kinds = len({one.desirable for one in rated}) == 2
    return RatedScore(rated, scored) if len(rated) >= LEAST_ROWS and both_kinds else None
