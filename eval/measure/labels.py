"""Scoring: every arm's answer to every item, through the engine that will serve.

It owns how answers become scores; it must not know which arm is meant to win.
"""

from collections.abc import Sequence

import numpy as np

from core.prompts import Prompt, Text, answer_text
from eval.arms import Arm, Item
from eval.engine_queries import Progress, Query, QueryRunner, Reply
from eval.kpis.classification import Floats, Ints
from eval.kpis.evidence import ArmScores
from eval.measure.label_tokens import TokenTrie, build_token_tries, log_probabilities
from eval.measure.latency import times


class Labels:
    """A fixed set of answers: what to ask of a prompt to score them, and their probabilities from what came.

    `kinds` says which of them mean the same; by default none do.
    """

    def __init__(
        self, asker: QueryRunner, base_name: str, labels: Sequence[str], kinds: Sequence[int] | None = None
    ) -> None:
        self.labels = tuple(labels)
        self._kinds = tuple(kinds or range(len(labels)))
        self._tokenize = lambda text: asker.tokens(base_name, text)
        self._trees: dict[bool, tuple[TokenTrie, ...]] = {}

    def questions(self, engine_name: str, prompt: Prompt) -> list[Query]:
        """One for each place at which answers part; a single one where they all begin with different tokens."""
        return [Query(engine_name, prompt, fork.tokens, fork.begun) for fork in self._tree(prompt)]

    def log_probabilities(self, prompt: Prompt, answers: Sequence[Reply]) -> list[float]:
        """One a label, from the answers to its questions."""
        return log_probabilities(self._tree(prompt), [answer.scores for answer in answers], len(self.labels))

    def _tree(self, prompt: Prompt) -> tuple[TokenTrie, ...]:
        spaced = isinstance(prompt, Text) and not prompt.text[-1:].isspace()
        if spaced not in self._trees:
            texts = [answer_text(Text("" if spaced else " "), label) for label in self.labels]
            self._trees[spaced] = build_token_tries(texts, self._kinds, self._tokenize)
        return self._trees[spaced]


def score(
    asker: QueryRunner,
    arms: Sequence[Arm],
    items: Sequence[Item],
    labels: Labels,
    *,
    latency_items: int = 0,
    progress: Progress = lambda done, total: None,
) -> dict[str, ArmScores]:
    """Scores all arms in one mixed batch, then times some items one at a time, arms in turn.

    A label's probability is renormalised over the labels; what the labels do not hold is 1 − mass. An item for
    which no label has a score, or whose prompt the engine refuses, is answered wrong.
    """
    prompts = [(arm.engine_name, arm.rewrite(item.prompt)) for item in items for arm in arms]
    asked = [labels.questions(*pair) for pair in prompts]
    answers = iter(asker.ask([question for questions in asked for question in questions], progress))
    found = [[next(answers) for _ in questions] for questions in asked]
    values = [labels.log_probabilities(prompt, got) for (_, prompt), got in zip(prompts, found, strict=True)]
    taken = times(asker.client, {arm.name: asked[place :: len(arms)][:latency_items] for place, arm in enumerate(arms)})
    truth = np.array([item.truth for item in items], dtype=np.int64)
    return {
        arm.name: ArmScores(
            *_probabilities(np.array(values[place :: len(arms)], dtype=np.float64), truth),
            prompt_tokens=np.array([got[0].prompt_tokens for got in found[place :: len(arms)]], dtype=np.int64),
            latency_ms=taken[arm.name],
        )
        for place, arm in enumerate(arms)
    }


def _probabilities(logprobs: Floats, truth: Ints) -> tuple[Floats, Floats]:
    """Probabilities over the labels (n, k) and the mass that they hold (n,)."""
    highest = logprobs.max(1, keepdims=True)
    lost = ~np.isfinite(highest[:, 0])
    shifted = np.exp(logprobs - np.where(np.isfinite(highest), highest, 0.0))
    wrong = np.eye(logprobs.shape[1])[(truth[lost] + 1) % logprobs.shape[1]]
    shifted[lost] = wrong
    mass = np.minimum(np.exp(logprobs).sum(1), 1.0)
    mass[lost] = 0.0
    return shifted / shifted.sum(1, keepdims=True), mass
