"""Arms: the ways to answer an item that an evaluation compares."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from core.prompts import Prompt, with_system
from core.records import Version
from serve.retrieval.retriever import Retriever, read_retrieval


@dataclass(frozen=True, slots=True)
class Item:
    """One held-out prompt with its user and the number of its true label."""

    id: str
    user: str
    prompt: Prompt
    truth: int


@dataclass(frozen=True, slots=True)
class Arm:
    """A name, the engine's name of the model, and a function that rewrites a prompt for it."""

    name: str
    engine_name: str
    rewrite: Callable[[Prompt], Prompt] = field(default=lambda prompt: prompt)


def prompted(engine_name: str, instruction: str) -> Arm:
    """The base model with a system instruction. An empty instruction keeps the app's prompt."""
    if not instruction:
        return Arm("base", engine_name)
    return Arm("base", engine_name, lambda prompt: with_system(prompt, instruction))


def of_version(name: str, version: Version, answer_tokens: int) -> Arm:
    """A version as it is served, with its retrieval if it has one. Raises NotReady if the retrieval file is missing."""
    if version.kind != "retrieval":
        return Arm(name, version.engine_name)
    return retrieving(name, version.engine_name, Retriever(read_retrieval(version)), answer_tokens)


def retrieving(name: str, base_name: str, retriever: Retriever, answer_tokens: int) -> Arm:
    """The base model with retrieved texts in its prompt. `answer_tokens` is the maximum length of an answer."""
    return Arm(name, base_name, partial(retriever.rewrite, answer_tokens=answer_tokens))
