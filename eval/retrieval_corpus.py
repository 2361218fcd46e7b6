"""Gather the texts of a retrieval: trusted examples of a snapshot's train bucket, or passages of documents."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from core.prompts import Prompt, Text, answer_text, subject
from core.settings import ModelSettings
from feedback.curation import dedup_key
from feedback.snapshot import Row, Snapshot
from feedback.templates import Templates
from serve.retrieval.documents import passages
from serve.retrieval.retriever import MESSAGE_TOKENS, Entry, Retrieval

# The maximum number of texts, newest first. A search over them costs less than any other part of a request.
MOST = 20_000
BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Gathered:
    """A retrieval, and the number of texts that were left out, by reason."""

    retrieval: Retrieval
    left_out: dict[str, int]


def gather(snapshot: Snapshot, settings: ModelSettings, base: Path, context_tokens: int | None = None) -> Gathered:
    """Gather the texts that the settings name. Equal rows, settings and base model give equal bytes.

    `base` is the base model's folder. `context_tokens` is the maximum length of a prompt and its answer together.
    Raises InputError.
    """
    baselines, tokenizer = settings.baselines, _Tokenizer(base)
    templates = Templates([row.prompt for row in snapshot.of("train")])
    made = (
        _passages(baselines.documents, tokenizer) if baselines.documents else _examples(snapshot, templates, tokenizer)
    )
    entries = list(made)
    newest = entries[-MOST:]
    short = [entry for entry in newest if entry.tokens <= baselines.rag_budget_tokens]
    kept = [entry for entry in short if not any(t in entry.text or t in entry.answer for t in tokenizer.special)]
    left_out = {
        f"more than {MOST}": len(entries) - len(newest),
        "longer than the budget": len(newest) - len(short),
        "contains a special token of the chat template": len(short) - len(kept),
    }
    retrieval = Retrieval(
        tuple(kept), baselines.rag_examples, baselines.rag_budget_tokens, context_tokens, templates.words
    )
    return Gathered(retrieval, {reason: n for reason, n in left_out.items() if n})


def _passages(folder: Path, tokenizer: "_Tokenizer") -> Iterator[Entry]:
    for text in passages(folder):
        yield Entry("passage", text, "", tokenizer.count(text) + MESSAGE_TOKENS)


def without_prompts(retrieval: Retrieval, prompts: Iterable[Prompt]) -> Retrieval:
    """The retrieval without the examples that these prompts made."""
    given = list(prompts)
    sources = {_source(prompt) for prompt in given}
    # Retrievals from before entries had a source show the last question.
    texts = {subject(prompt) for prompt in given}
    texts |= {BLANK_LINES.sub("\n", text) for text in texts}
    kept = (entry for entry in retrieval.entries if entry.text not in texts and entry.source not in sources)
    return replace(retrieval, entries=tuple(kept))


@dataclass(frozen=True, slots=True)
class Origin:
    """What one entry of a retrieval was made of: interactions with its question, and feedback that says its answer."""

    interactions: frozenset[str] = frozenset()
    feedback: frozenset[str] = frozenset()


def origins(retrieval: Retrieval, rows: Iterable[Row]) -> tuple[Origin, ...]:
    """The origin of each entry, in their order. `rows` are those that the retrieval was made of.

    Nothing is known of passages, and of entries from before entries had a source.
    """
    asked, said = defaultdict[str, set[str]](set), defaultdict[tuple[str, str], set[str]](set)
    for row in rows:
        source = _source(row.prompt)
        asked[source].add(row.interaction_id)
        for answer in (row.label, BLANK_LINES.sub("\n", row.label)):
            said[source, answer].add(row.feedback_id)
    # Entries with one question share its interactions, which can be many.
    interactions = {source: frozenset(ids) for source, ids in asked.items()}
    nothing = frozenset[str]()
    return tuple(
        Origin(interactions.get(entry.source, nothing), frozenset(said.get((entry.source, entry.answer), nothing)))
        if entry.source
        else Origin()
        for entry in retrieval.entries
    )


def withheld_places(made_of: Sequence[Origin], flagged: Set[str], ended: Set[str]) -> tuple[int, ...]:
    """The places of the entries that must not be shown, in order, by the origin of each entry.

    An entry is withheld if an answer to its question is one of `flagged`, which are interactions, even where the entry
    has another answer. It is also withheld if every vote that says its answer is one of `ended`, which are feedback.
    """
    return tuple(
        place
        for place, origin in enumerate(made_of)
        if not flagged.isdisjoint(origin.interactions) or (origin.feedback and origin.feedback <= ended)
    )


def _source(prompt: Prompt) -> str:
    return hashlib.blake2b(dedup_key(prompt).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _examples(snapshot: Snapshot, templates: Templates, tokenizer: "_Tokenizer") -> Iterator[Entry]:
    """Questions with their right answers, without what the prompts of the model share."""
    rows = snapshot.of("train")
    texts = templates.subjects([row.prompt for row in rows])
    for row, asked in zip(rows, texts, strict=True):
        if isinstance(row.prompt, Text):
            # A blank line ends an example in plain text, so an example must not contain one.
            text, answer = BLANK_LINES.sub("\n", row.prompt.text), BLANK_LINES.sub("\n", row.label)
            tokens = tokenizer.count(text + answer_text(Text(text), answer)) + MESSAGE_TOKENS
            yield Entry("text", text, answer, tokens, _source(row.prompt))
        else:
            tokens = tokenizer.count(asked) + tokenizer.count(row.label) + 2 * MESSAGE_TOKENS
            yield Entry("chat", asked, row.label, tokens, _source(row.prompt))


class _Tokenizer:
    """Counts a base model's tokens. `special` are the tokens by which a text could end its message and start another.

    Without a tokenizer.json each byte counts as a token, which is an upper bound, and `special` is empty.
    """

    def __init__(self, base: Path) -> None:
        self.count: Callable[[str], int] = lambda text: len(text.encode())
        self.special: tuple[str, ...] = ()
        file = base / "tokenizer.json"
        if file.is_file():
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(file))
            tokenizer.no_truncation()
            tokenizer.no_padding()
            self.count = lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
            self.special = tuple(t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special)
