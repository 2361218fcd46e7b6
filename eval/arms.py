"""Arms: the ways to answer an item that an evaluation compares.

It owns how each rewrites a prompt; it must not send any.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from core.prompts import Prompt, with_system
from core.records import Version
from serve.retrieval.retriever import Retriever, read_retrieval


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


def of_version(name: str, version: Version, answer_tokens: int) -> Arm:
    """A version as it serves: one that retrieves rewrites what it is asked. Raises NotReady when its file is gone."""
    if version.kind != "retrieval":
        return Arm(name, version.engine_name)
    return retrieving(name, version.engine_name, Retriever(read_retrieval(version)), answer_tokens)


def retrieving(name: str, base_name: str, retriever: Retriever, answer_tokens: int) -> Arm:
    """The base model with what is nearest before the question; `answer_tokens` is how long an answer may get."""
    return Arm(name, base_name, partial(retriever.rewrite, answer_tokens=answer_tokens))
