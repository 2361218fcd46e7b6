"""Replay against forgetting: keep the adapter at the base model where an app's feedback says nothing, and measure it.

Forgetting is the mean KL(base ‖ adapter) per token, in nats, on answers that the base model draws to general prompts.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval.kpis.bootstrap import BootstrapPlan, interval, resample
from retrain.trainer.batches import replayed_per_step, replayed_rows
from retrain.trainer.losses import divergences
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.scoring import answer_logits

# Rows of one pass, and logits of their answers, which take memory: some 20 bytes each, so 0.2 GB at most.
PASS_ROWS, PASS_LOGITS = 8, 10_000_000
RESAMPLES = 2000


class Replay:
    """General prompts with the base model's answers, some in each step, whose loss is KL(base ‖ adapter) per token.

    A step's loss is (1 − share) · its own loss + share · this one.
    """

    def __init__(self, rows: Sequence[TokenSequence], *, share: float, batch_size: int, seed: int) -> None:
        self.rows = rows
        self.share = share
        self._each = replayed_per_step(share, batch_size)
        self._seed = seed

    def of_step(self, step: int) -> list[TokenSequence]:
        """Return the rows of a step, counted from 0. They depend on the seed and the step alone."""
        return [self.rows[n] for n in replayed_rows(step, len(self.rows), self._each, self._seed)]

    def backward(self, model: Any, step: int) -> float:
        """Add `share` times a step's gradient to the adapter's, and return its KL per token."""
        rows, loss = self.of_step(step), 0.0
        total = sum(len(row.answer) for row in rows)
        for _, found in answer_divergences(model, rows):
            mean = found.sum() / total
            (self.share * mean).backward()
            loss += float(mean.detach())
        return loss


@dataclass(frozen=True, slots=True)
class Forgetting:
    """KL(base ‖ adapter) per token, in nats, with its 95% interval over prompts, and what it was measured on.

    Without a bound, which needs enough prompts, `low` and `high` are None.
    """

    value: float
    low: float | None
    high: float | None
    prompts: int
    tokens: int


@torch.no_grad()
def measure_forgetting(model: Any, rows: Sequence[TokenSequence]) -> Forgetting:
    """Measure forgetting on general prompts that were not replayed, with the base model's answers.

    Σ KL over all tokens, divided by their number. The answers are drawn from the base model, and each token's KL is
    computed over the whole vocabulary, so only the choice of prompts and answers is random. Prompts are resampled.
    """
    sums, tokens = np.zeros(len(rows)), np.array([len(row.answer) for row in rows])
    for numbers, found in answer_divergences(model, rows):
        ends = np.cumsum(tokens[numbers])[:-1].tolist()
        sums[numbers] = [float(one.double().sum()) for one in found.cpu().tensor_split(ends)]
    plan, units = BootstrapPlan(0.05, RESAMPLES), np.arange(len(rows))
    samples = resample({"": lambda weights: (weights @ sums) / (weights @ tokens)}, units, plan)[""]
    low, high = (round(bound, 6) if math.isfinite(bound) else None for bound in interval(samples, len(rows)))
    return Forgetting(round(float(sums.sum() / tokens.sum()), 6), low, high, len(rows), int(tokens.sum()))


def rows_per_pass(longest: int, vocabulary: int) -> int:
    """Return how many rows, with answers of up to `longest` tokens, are computed at a time."""
    return max(1, min(PASS_ROWS, PASS_LOGITS // (longest * vocabulary)))


def answer_divergences(model: Any, rows: Sequence[TokenSequence]) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the numbers of some rows and the KL (m,) of their answers' tokens, row after row, pass by pass."""
    numbers = sorted(range(len(rows)), key=lambda n: len(rows[n].tokens))
    longest = max((len(row.answer) for row in rows), default=1)
    each = rows_per_pass(longest, model.config.get_text_config().vocab_size)
    for first in range(0, len(numbers), each):
        some = numbers[first : first + each]
        batch = [rows[n] for n in some]
        with torch.no_grad(), model.disable_adapter():
            base = answer_logits(model, batch)
        yield some, divergences(base, answer_logits(model, batch))
