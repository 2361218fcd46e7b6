"""Arms: the ways to answer an item that an evaluation compares.

It owns how base and RAG prompts are made; it must not send them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.prompts import Prompt, Text, subject, with_examples, with_system

# Characters of English text in a token, on the safe side: the budget bounds the prompt, it does not count it.
CHARACTERS_A_TOKEN = 3.5


@dataclass(frozen=True, slots=True)
class Item:
    """One question whose answer is known: the prompt, the true label's number, and whose it was."""

    id: str
    user: str
    prompt: Prompt
    truth: int


@dataclass(frozen=True, slots=True)
class Arm:
    """A name, what the engine calls the model behind it, and how it rewrites a prompt."""

    name: str
    engine_name: str
    rewrite: Callable[[Prompt], Prompt] = field(default=lambda prompt: prompt)


def prompted(engine_name: str, instruction: str) -> Arm:
    """The base model under another instruction; an empty one leaves the prompt as the app wrote it."""
    if not instruction:
        return Arm("base", engine_name)
    return Arm("base", engine_name, lambda prompt: with_system(prompt, instruction))


class Retriever:
    """The k nearest answered examples by TF-IDF, within a budget."""

    def __init__(self, examples: Sequence[tuple[Prompt, str]], *, k: int, budget_tokens: int) -> None:
        self._by_shape = {shape: [e for e in examples if isinstance(e[0], Text) is shape] for shape in (True, False)}
        self._k = k
        self._room = budget_tokens * CHARACTERS_A_TOKEN
        self._indexes = {
            shape: _Index([subject(prompt) for prompt, _ in found]) for shape, found in self._by_shape.items() if found
        }

    def rewrite(self, prompt: Prompt) -> Prompt:
        """The prompt with its nearest examples of the same shape before it, the nearest last."""
        shape = isinstance(prompt, Text)
        if shape not in self._indexes:
            return prompt
        room, chosen = self._room - len(subject(prompt)), []
        for place in self._indexes[shape].nearest(subject(prompt), self._k):
            example = self._by_shape[shape][place]
            room -= len(subject(example[0])) + len(example[1])
            if room < 0:
                break
            chosen.append(example)
        return with_examples(prompt, chosen[::-1])


class _Index:
    def __init__(self, texts: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer: Any = TfidfVectorizer(sublinear_tf=True)
        self._matrix: Any = self._vectorizer.fit_transform(texts)

    def nearest(self, text: str, k: int) -> list[int]:
        likeness = (self._matrix.dot(self._vectorizer.transform([text]).transpose())).toarray().ravel()
        return [int(place) for place in likeness.argsort(kind="stable")[::-1][:k]]
