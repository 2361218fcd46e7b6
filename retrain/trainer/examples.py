"""Turn the train rows or pairs of a snapshot into examples of token ids. It must not import torch."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from core.prompts import to_json
from feedback.pairs import Pair, pairs_of
from feedback.snapshot import Row, TableRows
from feedback.snapshot_files import read_tables
from retrain.trainer.batches import Example, place_of
from retrain.trainer.job import Job
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.rendering import Left, Renderer, count_reasons

Kind = TypeVar("Kind", Row, Pair)
Rendered = tuple[list[Example], dict[str, int]]
"""Examples, and how many rows or pairs were left out for each reason."""


class Examples:
    """The rows of a job's objective, or its pairs or rated answers. The snapshot's files are read once, and checked."""

    def __init__(self, job: Job) -> None:
        """Read the files. Raises IntegrityFailed."""
        tables = read_tables(Path(job.snapshot))
        self._job = job
        self._rows = TableRows(tables.rows) if job.objective == "sft" else ()
        self._pairs = [] if job.objective == "sft" else pairs_of(tables.pairs)

    def render(self, renderer: Renderer, bucket: str = "train") -> Rendered:
        """Return the examples of a bucket, from its newest `max_rows` rows or pairs."""
        job, share = self._job, self._job.share if bucket == "train" else 1.0
        if job.objective == "sft":
            rows = newest([row for row in self._rows if row.bucket == bucket], job)
            return render_rows(renderer, share_of(rows, share, job.seed))
        pairs = [pair for pair in self._pairs if pair.bucket == bucket and pair.compares is (job.objective == "dpo")]
        pairs = share_of(newest(pairs, job), share, job.seed)
        return (render_pairs if job.objective == "dpo" else render_rated)(renderer, pairs)

    def label_choices(
        self, renderer: Renderer, bucket: str, labels: Sequence[str], seed: int
    ) -> tuple[list[Example], list[int]]:
        """Return the rows of a bucket with one sequence per label, and the number of the right label of each (n,).

        Their order depends on their content and the seed alone. A row is left out if a label cannot be rendered.
        """
        rows = newest([row for row in self._rows if row.bucket == bucket and row.label in labels], self._job)
        found: list[tuple[Example, int]] = []
        for row in rows:
            rendered = [renderer.render(row.prompt, label) for label in labels]
            sequences = tuple(TokenSequence(*one) for one in rendered if not isinstance(one, Left))
            if len(sequences) == len(labels):
                found.append((Example(sequences, row.weight, voter=voter_of(row)), labels.index(row.label)))
        ordered = sorted(found, key=lambda one: (place_of(one[0], seed), one[1]))
        return [example for example, _ in ordered], [truth for _, truth in ordered]

    def pair_choices(self, renderer: Renderer, bucket: str) -> list[Example]:
        """Return the pairs of a bucket, also where the job's objective learns from rated answers."""
        pairs = [pair for pair in self._pairs if pair.bucket == bucket and pair.compares]
        return render_pairs(renderer, newest(pairs, self._job))[0]


def newest(rows: list[Kind], job: Job) -> list[Kind]:
    """Return the newest `max_rows` rows."""
    return rows[-job.max_rows :] if job.max_rows else rows


def share_of(rows: list[Kind], share: float, seed: int) -> list[Kind]:
    """Return the rows of some voters, with about this share of all rows. A smaller share is a part of a larger one.

    Voters are in an order by hash, so that the choice depends on them and the seed alone.
    """
    if share >= 1:
        return rows
    by_voter: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        by_voter.setdefault(voter_of(row), []).append(place)
    kept: list[int] = []
    for voter in sorted(by_voter, key=lambda one: hashlib.sha256(f"{seed}:share:{one}".encode()).digest()):
        if len(kept) >= share * len(rows):
            break
        kept += by_voter[voter]
    return [rows[place] for place in sorted(kept)]


def voter_of(row: Row | Pair) -> str:
    """Return who gave a row: the voter of its API key, or of nobody known the row's own content."""
    if row.user:
        return f"{row.key_id}\n{row.user}"
    return hashlib.sha256(_content(row)).hexdigest()


def render_rows(renderer: Renderer, rows: Sequence[Row]) -> Rendered:
    """Return rows as examples of SFT."""
    examples, left = [], []
    for row in rows:
        found = renderer.render(row.prompt, row.label)
        if isinstance(found, Left):
            left.append(found)
        else:
            examples.append(Example((TokenSequence(*found),), row.weight, voter=voter_of(row)))
    return examples, count_reasons(left)


def render_pairs(renderer: Renderer, pairs: Sequence[Pair]) -> Rendered:
    """Return pairs as examples of DPO: the chosen answer and the rejected one."""
    examples, left = [], []
    for pair in pairs:
        chosen, rejected = (renderer.render(pair.prompt, answer) for answer in (pair.chosen, pair.rejected))
        if isinstance(chosen, Left):
            left.append(chosen)
        elif isinstance(rejected, Left):
            left.append(rejected)
        else:
            sequences = TokenSequence(*chosen), TokenSequence(*rejected)
            examples.append(Example(sequences, pair.weight, voter=voter_of(pair)))
    return examples, count_reasons(left)


def render_rated(renderer: Renderer, rated: Sequence[Pair]) -> Rendered:
    """Return answers as examples of KTO, each with another one's answer to its prompt, which estimates divergence.

    The weights of answers that users liked and of those that they did not add up to the same: the smaller group's are
    raised.
    """
    ordered = sorted(rated, key=_content)
    examples, left = [], []
    for place, pair in enumerate(ordered):
        other = _other(ordered, place)
        answers = (pair.answer, other.answer if other else pair.answer)
        own, unrelated = (renderer.render(pair.prompt, answer) for answer in answers)
        if isinstance(own, Left):
            left.append(own)
        elif isinstance(unrelated, Left):
            left.append(unrelated)
        else:
            sequences = TokenSequence(*own), TokenSequence(*unrelated)
            examples.append(Example(sequences, pair.weight, bool(pair.chosen), voter_of(pair)))
    return balanced(examples), count_reasons(left)


def balanced(examples: list[Example]) -> list[Example]:
    """Return the examples with the weights of the smaller group raised, so that both groups weigh the same."""
    total = {side: sum(one.weight for one in examples if one.desirable is side) for side in (True, False)}
    most = max(total.values())
    return [
        replace(one, weight=one.weight * most / total[one.desirable]) if total[one.desirable] else one
        for one in examples
    ]


def _other(ordered: Sequence[Pair], place: int) -> Pair | None:
    """The next pair with another answer, None if all answers are the same."""
    for step in range(1, len(ordered)):
        other = ordered[(place + step) % len(ordered)]
        if other.answer != ordered[place].answer:
            return other
    return None


def _content(row: Row | Pair) -> bytes:
    if isinstance(row, Row):
        return hashlib.sha256(f"{to_json(row.prompt)}\n{row.label}".encode()).digest()
    return hashlib.sha256(f"{to_json(row.prompt)}\n{row.answer}\n{bool(row.chosen)}\n{row.weight}".encode()).digest()
