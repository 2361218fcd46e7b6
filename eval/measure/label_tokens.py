"""Label tokens: which tokens distinguish the labels of a fixed set, as a prefix tree.

Labels with different first tokens need one score each. If several labels start with the same tokens, the tokens after
that common prefix are scored too. Tokens that distinguish nothing are never scored. A label that ends where another
continues gets the probability that the continuations leave over.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.errors import AmbiguousLabels

Tokenize = Callable[[str], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TrieNode:
    """A node where labels differ: their common prefix, and each next token with the labels that continue with it.

    Labels are numbers. `ended` holds the labels that end at this node. The root has none.
    """

    prefix: str
    branches: tuple[tuple[int, tuple[int, ...]], ...]
    ended: tuple[int, ...] = ()

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens to score after `prefix`."""
        return tuple(token for token, _ in self.branches)


def build_token_trie(texts: Sequence[str], kinds: Sequence[int], tokenize: Tokenize) -> tuple[TrieNode, ...]:
    """The root and every further node where labels differ. `texts` are the labels as they follow the prompt.

    Labels of one kind need not be distinguished. Raises AmbiguousLabels for labels that no token distinguishes.
    """
    spellings = [tokenize(text) for text in texts]
    for index, tokens in enumerate(spellings):
        if not tokens:
            raise AmbiguousLabels(f"The label {texts[index]!r} has no token.", hint="Rename it.")
        for other in range(index):
            if spellings[other] == tokens and kinds[other] != kinds[index]:
                raise AmbiguousLabels(
                    f"{texts[other]!r} and {texts[index]!r} are the same tokens to the base model.",
                    hint="The engine cannot distinguish them. Rename one.",
                )
    nodes: list[TrieNode] = []

    def add_nodes(members: list[int], depth: int) -> None:
        """Add the nodes of labels that share their first `depth` tokens."""
        ended = tuple(member for member in members if len(spellings[member]) == depth)
        branches: dict[int, list[int]] = {}
        for member in members:
            if len(spellings[member]) > depth:
                branches.setdefault(spellings[member][depth], []).append(member)
        if depth == 0 or ended or len(branches) > 1:
            prefix = _shortest_prefix(texts[members[0]], spellings[members[0]][:depth], tokenize)
            nodes.append(TrieNode(prefix, tuple((token, tuple(labels)) for token, labels in branches.items()), ended))
        for labels in branches.values():
            if len({kinds[label] for label in labels}) > 1:
                add_nodes(labels, depth + 1)

    add_nodes(list(range(len(texts))), 0)
    return tuple(nodes)


def _shortest_prefix(text: str, tokens: tuple[int, ...], tokenize: Tokenize) -> str:
    """The shortest prefix of the text that has these tokens."""
    if not tokens:
        return ""
    for end in range(1, len(text) + 1):
        if tokenize(text[:end]) == tokens:
            return text[:end]
    raise AmbiguousLabels(
        f"The label {text!r} cannot be cut where other labels differ from it.",
        hint="Its tokens depend on the text that follows. Rename it.",
    )


def log_probabilities(trie: Sequence[TrieNode], scores: Sequence[Sequence[float]], labels: int) -> list[float]:
    """The log-probability of each label, from the scores of each node's tokens.

    Labels of one kind that share all scored tokens share the probability evenly.
    """
    totals = [0.0] * labels
    for node, values in zip(trie, scores, strict=True):
        for (_, members), value in zip(node.branches, values, strict=True):
            for label in members:
                totals[label] += value
        if node.ended:
            left = 1 - min(math.fsum(math.exp(value) for value in values), 1.0)
            for label in node.ended:
                totals[label] += math.log(left) if left > 0 else -math.inf
    return [value - math.log(_sharing(trie, label)) for label, value in enumerate(totals)]


def _sharing(trie: Sequence[TrieNode], label: int) -> int:
    """The number of labels that share all scored tokens with this label."""
    count = 1
    for node in trie:
        for members in (*(members for _, members in node.branches), node.ended):
            if label in members:
                count = len(members)
    return count
