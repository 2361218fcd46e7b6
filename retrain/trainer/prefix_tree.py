"""Prefix trees: sequences of tokens in which tokens that follow the same tokens are one node.

A causal model gives a token the same state wherever it follows the same tokens, so each node is computed once. It must
not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """The tokens of a prompt, at least one, and of its answer, at least one. Only the answer's tokens are scored."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens in their order."""
        return self.prompt + self.answer


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """`tokens`, `depths` and `parents` (n,) by node; a parent comes before its children, a root's is −1.

    `sources` (k,) are the nodes that some answer's token follows. The m answer tokens of all sequences follow:
    `reads` (m,) is each one's position in `sources`, `targets` (m,) its id, `owners` (m,) its sequence.
    """

    tokens: Ints
    depths: Ints
    parents: Ints
    sources: Ints
    reads: Ints
    targets: Ints
    owners: Ints


def build_tree(sequences: Sequence[TokenSequence]) -> PrefixTree:
    """Return the tree of the sequences. A sequence's last token has no node, because nothing follows it."""
    children: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    depths: list[int] = []
    parents: list[int] = []
    followed: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for number, sequence in enumerate(sequences):
        node, whole = -1, sequence.tokens
        for depth, token in enumerate(whole[:-1]):
            child = children.get((node, token))
            if child is None:
                child = children[node, token] = len(tokens)
                tokens.append(token)
                depths.append(depth)
                parents.append(node)
            node = child
            if depth + 1 >= len(sequence.prompt):
                followed.append(node)
                targets.append(whole[depth + 1])
                owners.append(number)
    sources, reads = np.unique(np.array(followed, dtype=np.int64), return_inverse=True)
    return PrefixTree(
        np.array(tokens, dtype=np.int64),
        np.array(depths, dtype=np.int64),
        np.array(parents, dtype=np.int64),
        sources,
        reads.astype(np.int64),
        np.array(targets, dtype=np.int64),
        np.array(owners, dtype=np.int64),
    )


def visible_nodes(parents: Ints) -> npt.NDArray[np.bool_]:
    """Return (n, n): whether the node of the row may attend to the node of the column, itself or an ancestor."""
    visible = np.eye(len(parents), dtype=np.bool_)
    for node, parent in enumerate(parents):
        if parent >= 0:
            visible[node] |= visible[parent]
    return visible
