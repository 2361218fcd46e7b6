"""Choices: which tokens tell the answers of a fixed set apart.

It owns the tree of their tokens and the way from the tokens' scores to the answers'; it must not ask for scores.

Answers that begin with different tokens need one score each. Where several begin alike, the tokens at which they
part are scored too, each after the beginning that they share; tokens that tell nothing apart are never asked for.
An answer that ends where another goes on gets what those that go on leave over.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.errors import AmbiguousLabels

Tokenize = Callable[[str], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TokenTrie:
    """A place where answers part: how they all begin, and the token of each way on with the answers behind it.

    `ended` are the answers that end here; there is none at the root.
    """

    begun: str
    ways: tuple[tuple[int, tuple[int, ...]], ...]
    ended: tuple[int, ...] = ()

    @property
    def tokens(self) -> tuple[int, ...]:
        """What to score after `begun`."""
        return tuple(token for token, _ in self.ways)


def build_token_tries(texts: Sequence[str], kinds: Sequence[int], tokenize: Tokenize) -> tuple[TokenTrie, ...]:
    """The root and every further fork, from the beginning on. `texts` as they stand after the prompt.

    Answers of one kind need not be told apart from each other. Raises AmbiguousLabels for answers that no token parts.
    """
    spelled = [tokenize(text) for text in texts]
    for place, tokens in enumerate(spelled):
        if not tokens:
            raise AmbiguousLabels(f"The answer {texts[place]!r} has no token.", hint="Write something else for it.")
        for other in range(place):
            if spelled[other] == tokens and kinds[other] != kinds[place]:
                raise AmbiguousLabels(
                    f"{texts[other]!r} and {texts[place]!r} are the same tokens to the base model.",
                    hint="The engine cannot tell them apart; rename one.",
                )
    found: list[TokenTrie] = []
    _grow(found, texts, spelled, kinds, tokenize, members=list(range(len(texts))), depth=0)
    return tuple(found)


def _grow(
    found: list[TokenTrie],
    texts: Sequence[str],
    spelled: Sequence[tuple[int, ...]],
    kinds: Sequence[int],
    tokenize: Tokenize,
    *,
    members: list[int],
    depth: int,
) -> None:
    ended = tuple(m for m in members if len(spelled[m]) == depth)
    ways: dict[int, list[int]] = {}
    for member in members:
        if len(spelled[member]) > depth:
            ways.setdefault(spelled[member][depth], []).append(member)
    if depth == 0 or ended or len(ways) > 1:
        begun = _beginning(texts[members[0]], spelled[members[0]][:depth], tokenize)
        found.append(TokenTrie(begun, tuple((token, tuple(behind)) for token, behind in ways.items()), ended))
    for behind in ways.values():
        if len({kinds[member] for member in behind}) > 1:
            _grow(found, texts, spelled, kinds, tokenize, members=behind, depth=depth + 1)


def _beginning(text: str, tokens: tuple[int, ...], tokenize: Tokenize) -> str:
    """The shortest beginning of the text that is these tokens."""
    if not tokens:
        return ""
    for end in range(1, len(text) + 1):
        if tokenize(text[:end]) == tokens:
            return text[:end]
    raise AmbiguousLabels(
        f"The answer {text!r} cannot be cut where others part from it.",
        hint="Its tokens depend on what follows; rename it.",
    )


def log_probabilities(tree: Sequence[TokenTrie], scores: Sequence[Sequence[float]], answers: int) -> list[float]:
    """The log-probability of each answer, from the scores of each fork's tokens.

    Answers of one kind behind one token share its score evenly.
    """
    total = [0.0] * answers
    for fork, values in zip(tree, scores, strict=True):
        for (_, behind), value in zip(fork.ways, values, strict=True):
            for answer in behind:
                total[answer] += value
        if fork.ended:
            left = 1 - min(math.fsum(math.exp(v) for v in values), 1.0)
            for answer in fork.ended:
                total[answer] += math.log(left) if left > 0 else -math.inf
    return [value - math.log(_sharing(tree, answer)) for answer, value in enumerate(total)]


def _sharing(tree: Sequence[TokenTrie], answer: int) -> int:
    """How many answers end up where this one does."""
    last = 1
    for fork in tree:
        for behind in (*(behind for _, behind in fork.ways), fork.ended):
            if answer in behind:
                last = len(behind)
    return last
