"""Plan the steps of a training: which examples each step has, and which of them are computed together.

Pure functions of content and seed, so that a training can continue at any step. They must not import torch.
"""

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from retrain.trainer.job import Job
from retrain.trainer.prefix_tree import TokenSequence

# Most tokens of one pass. The cost of attention grows with the square of a tree's size, and its memory too.
PASS_TOKENS = 512
# Most passes over few rows that a minimum of steps brings.
MOST_PASSES = 10


@dataclass(frozen=True, slots=True)
class Example:
    """What one row of feedback teaches: its sequences, its weight, and for KTO whether the user liked the answer.

    SFT has one sequence, DPO the chosen and the rejected one, KTO the answer and another row's answer to this prompt.
    """

    sequences: tuple[TokenSequence, ...]
    weight: float = 1.0
    desirable: bool = True
    # Whose row it is, for errors of a score. It teaches nothing, so it is no part of what a checkpoint belongs to.
    voter: str = field(default="", repr=False, compare=False)


def order_examples(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return the examples in an order that depends on their content and the seed alone."""
    return sorted(examples, key=lambda example: place_of(example, seed))


def place_of(example: Example, seed: int) -> bytes:
    """Return what examples are ordered by: a hash of their content and the seed."""
    content = [[one.prompt, one.answer] for one in example.sequences]
    return hashlib.sha256(json.dumps([seed, content, example.weight, example.desirable]).encode()).digest()


def plan_steps(count: int, *, epochs: float, batch_size: int, seed: int, least: int = 1) -> list[list[int]]:
    """Return the examples of each step by number: passes over all of them, each in another random order.

    Few examples get more passes, so that there are `least` steps, or MOST_PASSES passes.
    """
    per_epoch = math.ceil(count / batch_size)
    total = max(math.ceil(epochs * per_epoch), min(least, MOST_PASSES * per_epoch))
    steps: list[list[int]] = []
    for epoch in range(math.ceil(total / per_epoch)):
        numbers = list(range(count))
        random.Random(f"{seed}:{epoch}").shuffle(numbers)
        steps += [numbers[first : first + batch_size] for first in range(0, count, batch_size)]
    return steps[:total]


def steps_of(job: Job, count: int) -> list[list[int]]:
    """Return the examples of each step of a job's first objective, by number. Without examples there are no steps."""
    if not count:
        return []
    return plan_steps(count, epochs=job.epochs, batch_size=job.batch_size, seed=job.seed, least=job.min_steps)


def replayed_per_step(share: float, batch_size: int) -> int:
    """Return the number of replayed rows of a step that has `batch_size` others, so that they have about this share."""
    return max(1, round(share / (1 - share) * batch_size)) if share else 0


def replayed_rows(step: int, count: int, each: int, seed: int) -> list[int]:
    """Return the replayed rows of a step by number, `each` of `count`, in passes over all of them in random order."""
    found = []
    for place in range(step * each, (step + 1) * each):
        numbers = list(range(count))
        random.Random(f"{seed}:replay:{place // count}").shuffle(numbers)
        found.append(numbers[place % count])
    return found


def score_points(total: int, parts: int) -> list[int]:
    """Return after which steps of a training its dev part is scored: `parts` times, evenly, and after the last step."""
    return sorted({math.ceil(total * part / parts) for part in range(1, parts + 1)})


def group_passes(examples: Sequence[Example], numbers: Sequence[int], most: int = PASS_TOKENS) -> list[list[int]]:
    """Return the examples of a step by pass. Examples that begin alike are together, so that they share tokens.

    A pass takes at most `most` tokens of a tree, or one example.
    """
    passes: list[list[int]] = []
    size, before = 0, ()
    for number in sorted(numbers, key=lambda n: (examples[n].sequences[0].tokens, n)):
        added, last = 0, before
        for sequence in examples[number].sequences:
            added += len(sequence.tokens) - _shared(last, sequence.tokens)
            last = sequence.tokens
        if not passes or size + added > most:
            passes.append([])
            size, added = 0, added + _shared(before, examples[number].sequences[0].tokens)
        passes[-1].append(number)
        size, before = size + added, last
    return passes


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the number of tokens that both begin with."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def learning_rate(step: int, total: int, *, peak: float, warmup: int) -> float:
    """Return the rate of a step, counted from 0: it rises from 0 to `peak` in `warmup` steps and falls to 0."""
    if step < warmup:
        return peak * step / warmup
    return peak * max(0.0, (total - step) / max(1, total - warmup))
