"""Objectives: the loss of a step for SFT, DPO and KTO, pass by pass, with gradients added up in the adapter."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retrain.trainer import losses
from retrain.trainer.batches import Example, group_passes
from retrain.trainer.job import Job
from retrain.trainer.scoring import Score


@dataclass(frozen=True, slots=True)
class Scored:
    """A PEFT model, and how answers are scored with it."""

    model: Any
    score: Score

    def sums(self, examples: Sequence[Example], which: slice = slice(None)) -> Tensor:
        """Return Σ log p (n, k) of the chosen k sequences of each example."""
        sequences = [sequence for example in examples for sequence in example.sequences[which]]
        return self.score(self.model, sequences).view(len(examples), -1)


class Objective(ABC):
    """How the loss of some examples is computed, pass by pass."""

    def backward(
        self, scored: Scored, examples: Sequence[Example], numbers: Sequence[int], share: float = 1.0
    ) -> float:
        """Add `share` times a step's gradient to the adapter's, and return its loss. `numbers` are its examples."""
        loss = 0.0
        for terms in self.terms(scored, examples, numbers):
            (share * terms).backward()
            loss += float(terms.detach())
        return loss

    @torch.no_grad()
    def measure(self, scored: Scored, examples: Sequence[Example], numbers: Sequence[int] | None = None) -> float:
        """Return the loss of all examples, or of some by number, without a gradient."""
        return float(sum(self.terms(scored, examples, range(len(examples)) if numbers is None else numbers)))

    def size(self, example: Example) -> float:
        """Return how much the loss of an example weighs in that of several."""
        return example.weight

    @abstractmethod
    def terms(self, scored: Scored, examples: Sequence[Example], numbers: Sequence[int]) -> Iterator[Tensor]:
        """Yield what each pass adds to the loss."""


class Sft(Objective):
    """Supervised fine-tuning: the likelihood of right answers."""

    def terms(self, scored: Scored, examples: Sequence[Example], numbers: Sequence[int]) -> Iterator[Tensor]:
        """Yield the parts of the loss per answer token, each weighted as its row."""
        total = sum(examples[n].weight * len(examples[n].sequences[0].answer) for n in numbers)
        for some in group_passes(examples, numbers):
            batch = [examples[n] for n in some]
            sums = scored.sums(batch)[:, 0]
            yield losses.sft_terms(sums, _weights(batch, sums), total).sum()

    def size(self, example: Example) -> float:
        """Return the number of answer tokens, by the row's weight."""
        return example.weight * len(example.sequences[0].answer)


class Dpo(Objective):
    """Direct preference optimization against the base model."""

    def __init__(self, reference: Tensor, *, beta: float, smoothing: float) -> None:
        self._reference = reference
        self._beta = beta
        self._smoothing = smoothing

    def terms(self, scored: Scored, examples: Sequence[Example], numbers: Sequence[int]) -> Iterator[Tensor]:
        """Yield the parts of the loss per pair."""
        total = sum(examples[n].weight for n in numbers)
        for some in group_passes(examples, numbers):
            batch = [examples[n] for n in some]
            ratios = scored.sums(batch) - self._reference[some]
            weights = _weights(batch, ratios)
            yield losses.dpo_terms(ratios, weights, total, beta=self._beta, smoothing=self._smoothing).sum()


class Kto(Objective):
    """Kahneman-Tversky optimization against the base model. The second sequence of an example estimates divergence."""

    def __init__(self, reference: Tensor, *, beta: float) -> None:
        self._reference = reference
        self._beta = beta

    def terms(self, scored: Scored, examples: Sequence[Example], numbers: Sequence[int]) -> Iterator[Tensor]:
        """Yield the parts of the loss per answer."""
        passes = group_passes(examples, numbers)
        kl = self._divergence(scored, examples, passes)
        total = sum(examples[n].weight for n in numbers)
        for some in passes:
            batch = [examples[n] for n in some]
            ratios = scored.sums(batch, slice(1))[:, 0] - self._reference[some, 0]
            desirable = torch.tensor([example.desirable for example in batch], device=ratios.device)
            weights = _weights(batch, ratios)
            yield losses.kto_terms(ratios, desirable, kl, weights, total, beta=self._beta).sum()

    @torch.no_grad()
    def _divergence(self, scored: Scored, examples: Sequence[Example], passes: list[list[int]]) -> Tensor:
        """Return the mean log-ratio of other rows' answers to the step's prompts, at least 0."""
        ratios = [
            scored.sums([examples[n] for n in some], slice(1, 2))[:, 0] - self._reference[some, 1] for some in passes
        ]
        return torch.cat(ratios).mean().clamp(min=0)


@torch.no_grad()
def all_sums(scored: Scored, examples: Sequence[Example]) -> Tensor:
    """Return Σ log p (n, k) of every sequence, in the order of the examples, pass by pass."""
    found: list[Tensor] = [torch.empty(0)] * len(examples)
    for some in group_passes(examples, range(len(examples))):
        for number, sums in zip(some, scored.sums([examples[n] for n in some]), strict=True):
            found[number] = sums
    return torch.stack(found)


def reference_sums(scored: Scored, examples: Sequence[Example]) -> Tensor:
    """Return Σ log p (n, k) of every sequence under the base model: the same model with its adapter off."""
    with scored.model.disable_adapter():
        return all_sums(scored, examples)


def choose_objective(job: Job, scored: Scored, examples: Sequence[Example]) -> Objective:
    """Return the job's objective, with its reference computed."""
    if job.objective == "dpo":
        return Dpo(reference_sums(scored, examples), beta=job.beta, smoothing=job.label_smoothing)
    if job.objective == "kto":
        return Kto(reference_sums(scored, examples), beta=job.beta)
    return Sft()


def _weights(batch: Sequence[Example], like: Tensor) -> Tensor:
    return torch.tensor([example.weight for example in batch], dtype=torch.float32, device=like.device)
