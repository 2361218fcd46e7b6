"""Score labels: every arm's probability of every label for every item, through the serving engine."""

from collections.abc import Sequence

import numpy as np

from core.prompts import Prompt, Text, answer_text
from eval.arm_definitions import Arm, Item
from eval.engine_queries import EngineContext, Reply, ScoreTokens
from eval.kpis.arrays import Floats, Ints
from eval.kpis.evidence import ArmScores
from eval.measure.label_tokens import TrieNode, build_token_trie, log_probabilities
from eval.measure.latency import measure_latency


class Labels:
    """A fixed set of labels: the queries that score them for a prompt, and their probabilities from the replies.

    `kinds` numbers labels by meaning. By default each label has its own meaning.
    """

    def __init__(self, engine: EngineContext, labels: Sequence[str], kinds: Sequence[int] | None = None) -> None:
        self.labels = tuple(labels)
        self._kinds = tuple(kinds or range(len(labels)))
        self._tokenize = engine.tokens
        self._tries: dict[bool, tuple[TrieNode, ...]] = {}

    def queries(self, engine_name: str, prompt: Prompt) -> list[ScoreTokens]:
        """One query per node of the prefix tree: one in all if the labels' first tokens differ."""
        return [ScoreTokens(engine_name, prompt, node.tokens, node.prefix) for node in self._trie(prompt)]

    def log_probabilities(self, prompt: Prompt, replies: Sequence[Reply]) -> list[float]:
        """The log-probability of each label, from the replies to the queries of this prompt."""
        return log_probabilities(self._trie(prompt), [reply.scores for reply in replies], len(self.labels))

    def _trie(self, prompt: Prompt) -> tuple[TrieNode, ...]:
        spaced = answer_text(prompt, "x") != "x"
        if spaced not in self._tries:
            texts = [answer_text(Text("" if spaced else " "), label) for label in self.labels]
            self._tries[spaced] = build_token_trie(texts, self._kinds, self._tokenize)
        return self._tries[spaced]


def score_labels(
    engine: EngineContext, arms: Sequence[Arm], items: Sequence[Item], labels: Labels, *, latency_items: int = 0
) -> dict[str, ArmScores]:
    """Score all arms in one mixed batch, then time some items one at a time, arms in turn.

    A label's probability is normalised over the labels. 1 − mass is the probability of answers that are not a label.
    An item without any score, or whose prompt the engine refuses, counts as answered wrong.
    """
    count = len(arms)
    prompts = [(arm.engine_name, arm.rewrite(item.prompt)) for item in items for arm in arms]
    queries = [labels.queries(*pair) for pair in prompts]
    replies = iter(engine.run([query for prompt_queries in queries for query in prompt_queries]))
    by_prompt = [[next(replies) for _ in prompt_queries] for prompt_queries in queries]
    values = [labels.log_probabilities(prompt, got) for (_, prompt), got in zip(prompts, by_prompt, strict=True)]
    timed = {arm.name: queries[index::count][:latency_items] for index, arm in enumerate(arms)}
    times = measure_latency(engine.runner.client, timed)
    truth = np.array([item.truth for item in items], dtype=np.int64)
    return {
        arm.name: ArmScores(
            *_probabilities(np.array(values[index::count], dtype=np.float64), truth),
            prompt_tokens=np.array([got[0].prompt_tokens for got in by_prompt[index::count]], dtype=np.int64),
            latency_ms=times[arm.name],
        )
        for index, arm in enumerate(arms)
    }


def _probabilities(logprobs: Floats, truth: Ints) -> tuple[Floats, Floats]:
    """Probabilities over the labels (n, k), and their mass before normalisation (n,)."""
    highest = logprobs.max(1, keepdims=True)
    unscored = ~np.isfinite(highest[:, 0])
    shifted = np.exp(logprobs - np.where(np.isfinite(highest), highest, 0.0))
    shifted[unscored] = np.eye(logprobs.shape[1])[(truth[unscored] + 1) % logprobs.shape[1]]
    mass = np.minimum(np.exp(logprobs).sum(1), 1.0)
    mass[unscored] = 0.0
    return shifted / shifted.sum(1, keepdims=True), mass
