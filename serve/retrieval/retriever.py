"""Retrievals: their file format, their search with TF-IDF, and the prompts that they rewrite.

scikit-learn is imported with the first index, never at the start of a process.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from core.errors import IntegrityFailed
from core.prompts import Chat, Prompt, Text, from_request, whole_text, with_examples, with_passages
from core.records import Endpoint, Version

FILE = "retrieval.json"
FORMAT = 1
# Characters of English text in a token, on the safe side: the budget bounds the prompt, it does not count it.
CHARACTERS_A_TOKEN = 3.5
# What a chat template puts around a message, and around all of them.
MESSAGE_TOKENS = 8
TEMPLATE_TOKENS = 32
# The likeness of an entry that is not shown. That of others is 0 or more.
NEVER = -1.0
# By these a client would be shown the prompt that engines saw, with what others wrote in it.
SHOWS_THE_PROMPT = ("echo", "prompt_logprobs", "return_token_ids", "prompt_embeds")

Shape = Literal["chat", "text", "passage"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A text that may be shown: a question with its answer, asked in a chat or as plain text, or a passage without.

    `tokens` are those that it takes in a prompt, at most. `source` is a hash of the whole prompt that it was made of.
    """

    shape: Shape
    text: str
    answer: str
    tokens: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The content of a retrieval: its texts, how many are shown at a time, and the maximum prompt.

    `context_tokens` is what prompt and answer may take together in an engine, None where nobody said. `ignored` are
    words that most prompts of the model share, which say nothing about what is near.
    """

    entries: tuple[Entry, ...]
    k: int
    budget_tokens: int
    context_tokens: int | None = None
    ignored: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the content of the file. Equal retrievals have equal bytes."""
        return orjson.dumps({"format": FORMAT, "retrieval": self})

    @classmethod
    def from_bytes(cls, content: bytes) -> "Retrieval":
        """The inverse of `to_bytes`. Raises ValueError, KeyError or TypeError on anything else."""
        data = orjson.loads(content)
        if data["format"] != FORMAT:
            raise ValueError(f"a retrieval of format {data['format']}; this LoraLoop reads {FORMAT}")
        found = data["retrieval"]
        entries = tuple(Entry(**entry) for entry in found["entries"])
        return cls(**(found | {"entries": entries, "ignored": tuple(found.get("ignored", ()))}))


def sha256_of(content: bytes) -> str:
    """The name of a retrieval by its content."""
    return hashlib.sha256(content).hexdigest()


def is_here(version: Version) -> bool:
    """Whether a version's file is on disk; `read` says whether it is whole."""
    return (Path(str(version.path)) / FILE).is_file()


def read_retrieval(version: Version) -> Retrieval:
    """What a version holds. Raises IntegrityFailed when its file is gone or not as it was made."""
    try:
        content = (Path(str(version.path)) / FILE).read_bytes()
    except OSError as error:
        raise IntegrityFailed(f"The file of {version.public_name} is gone.", hint="Start a new run.") from error
    if sha256_of(content) != version.sha256:
        raise IntegrityFailed(f"The file of {version.public_name} was changed.", hint="Start a new run.")
    return Retrieval.from_bytes(content)


class Retriever:
    """The k nearest texts of a retrieval, within its budget. Safe to use from several threads."""

    def __init__(self, retrieval: Retrieval) -> None:
        self._retrieval = retrieval
        shapes = sorted({entry.shape for entry in retrieval.entries})
        self._by_shape = {shape: [e for e in retrieval.entries if e.shape == shape] for shape in shapes}
        ignored = retrieval.ignored
        self._indexes = {shape: _Index([e.text for e in found], ignored) for shape, found in self._by_shape.items()}
        self._withheld: dict[str, list[int]] = {}

    def withhold(self, places: Collection[int]) -> None:
        """Never show these entries, by their places in the retrieval, until the next call. The others are shown."""
        wanted, counts, found = set(places), dict.fromkeys(self._by_shape, 0), dict[str, list[int]]()
        for place, entry in enumerate(self._retrieval.entries if wanted else ()):
            if place in wanted:
                found.setdefault(entry.shape, []).append(counts[entry.shape])
            counts[entry.shape] += 1
        self._withheld = found  # one assignment: a search sees the old places or the new ones

    def rewrite(self, prompt: Prompt, answer_tokens: int | None = None) -> Prompt:
        """The prompt with what is nearest to it before its question, the nearest last.

        A prompt stays unchanged if nothing fits next to it and its answer. Without `answer_tokens`, the answer is
        assumed to take half the context. Unless passages are shown, a chat that does not end in a user's question
        also stays unchanged.
        """
        shape = self._shape(prompt)
        space = self._space(prompt, answer_tokens)
        if shape is None or space <= 0:
            return prompt
        chosen, about = [], whole_text(prompt)
        withheld = self._withheld.get(shape, [])
        for place in self._indexes[shape].nearest(about, self._retrieval.k, withheld, alike=shape == "passage"):
            entry = self._by_shape[shape][place]
            if entry.tokens <= space:
                space -= entry.tokens
                chosen.append(entry)
        chosen.reverse()
        if shape == "passage":
            return with_passages(prompt, [entry.text for entry in chosen])
        return with_examples(prompt, [(_question(entry), entry.answer) for entry in chosen])

    def _shape(self, prompt: Prompt) -> Shape | None:
        """What can be shown to a prompt."""
        if "passage" in self._by_shape:
            return "passage"
        match prompt:
            case Text():
                shape: Shape = "text"
            case Chat((*_, ("user", *_))):
                shape = "chat"
            case _:
                return None
        return shape if shape in self._by_shape else None

    def _space(self, prompt: Prompt, answer_tokens: int | None) -> float:
        """Return the number of tokens that may still be shown. Each byte counts as one token of the context."""
        texts = [prompt.text] if isinstance(prompt, Text) else [message[1] for message in prompt.messages]
        budget = self._retrieval.budget_tokens - sum(map(len, texts)) / CHARACTERS_A_TOKEN
        context = self._retrieval.context_tokens
        if context is None or budget <= 0:
            return budget
        most = sum(len(text.encode()) + MESSAGE_TOKENS for text in texts) + TEMPLATE_TOKENS
        return min(budget, context - most - (context // 2 if answer_tokens is None else answer_tokens))


def rewrite_prompt(retriever: Retriever, endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a request's body that are replaced for the engine, or none if it stays unchanged."""
    if any(body.get(name) for name in SHOWS_THE_PROMPT):
        return {}
    asked = from_request(endpoint, body)
    if asked is None:
        return {}
    wanted = body.get("max_completion_tokens") or body.get("max_tokens")
    found = retriever.rewrite(asked, wanted if type(wanted) is int else None)
    if found is asked:
        return {}
    return {"prompt": found.text} if isinstance(found, Text) else {"messages": found.as_openai()}


def _question(entry: Entry) -> Prompt:
    return Text(entry.text) if entry.shape == "text" else Chat((("user", entry.text),))


class _Index:
    """Texts by their words, without those that are ignored."""

    def __init__(self, texts: Sequence[str], ignored: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._size = len(texts)
        self._vectorizer: Any = TfidfVectorizer(sublinear_tf=True, stop_words=list(ignored) or None)
        try:
            # By columns: a question has few words, and only the texts that contain them are compared.
            self._postings: Any = self._vectorizer.fit_transform(texts).tocsc()
        except ValueError:  # none has a word of two letters
            self._postings = None

    def nearest(self, text: str, k: int, withheld: Sequence[int], *, alike: bool) -> list[int]:
        """The places of the k nearest but those withheld; with `alike`, only those that share a word with the text."""
        import numpy as np

        likeness = np.zeros(self._size)
        if self._postings is not None:
            asked, held = self._vectorizer.transform([text]), self._postings
            for word, weight in zip(asked.indices, asked.data, strict=True):
                rows = slice(held.indptr[word], held.indptr[word + 1])
                likeness[held.indices[rows]] += weight * held.data[rows]
        likeness[list(withheld)] = NEVER
        # Of equals the later comes first. Only what may be among the k is sorted: sorting all would be half the time.
        least = np.partition(likeness, -min(k, self._size))[-min(k, self._size)]
        places = np.flatnonzero(likeness >= least)
        found = places[likeness[places].argsort(kind="stable")[::-1]][:k]
        return [int(place) for place in found if likeness[place] > (0 if alike else NEVER)]
