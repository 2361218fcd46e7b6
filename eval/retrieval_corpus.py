"""What a retrieval shows: the trusted examples of a snapshot's train bucket, or passages of a folder of documents.

It owns which texts may stand in the prompts of others and what each costs there; it must not know how they are found
again, or who serves them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.prompts import Text, answer_text, subject
from core.settings import ModelSettings
from feedback.snapshot import Snapshot
from serve.retrieval.documents import passages
from serve.retrieval.retriever import MESSAGE_TOKENS, Entry, Retrieval

# The newest so many: a search over them is still cheaper than anything else that a request costs.
MOST = 20_000
BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Gathered:
    """A retrieval, and how many texts were left out of it for which reason."""

    retrieval: Retrieval
    left_out: dict[str, int]


def gather(snapshot: Snapshot, settings: ModelSettings, base: Path, context_tokens: int | None = None) -> Gathered:
    """What the settings want shown; equal rows, settings and base model give equal bytes. Raises InputError.

    `base` is the base model's folder, `context_tokens` what engines take in a prompt and its answer together.
    """
    baselines, tokenizer = settings.baselines, _Tokenizer(base)
    found = list(_passages(baselines.documents, tokenizer) if baselines.documents else _examples(snapshot, tokenizer))
    newest = found[-MOST:]
    short = [entry for entry in newest if entry.tokens <= baselines.rag_budget_tokens]
    kept = [entry for entry in short if not any(m in entry.text or m in entry.answer for m in tokenizer.marks)]
    left_out = {
        f"more than {MOST}": len(found) - len(newest),
        "longer than the budget": len(newest) - len(short),
        "holds a mark of the chat template": len(short) - len(kept),
    }
    retrieval = Retrieval(tuple(kept), baselines.rag_examples, baselines.rag_budget_tokens, context_tokens)
    return Gathered(retrieval, {reason: n for reason, n in left_out.items() if n})


def _passages(folder: Path, tokenizer: "_Tokenizer") -> Iterator[Entry]:
    for text in passages(folder):
        yield Entry("passage", text, "", tokenizer.count(text) + MESSAGE_TOKENS)


def _examples(snapshot: Snapshot, tokenizer: "_Tokenizer") -> Iterator[Entry]:
    """Questions with their right answers; of a longer chat the last question alone."""
    for row in snapshot.of("train"):
        text = subject(row.prompt)
        if isinstance(row.prompt, Text):
            # A blank line ends an example in plain text: none may look like two, or like the question.
            text, answer = BLANK_LINES.sub("\n", text), BLANK_LINES.sub("\n", row.label)
            tokens = tokenizer.count(text + answer_text(Text(text), answer)) + MESSAGE_TOKENS
            yield Entry("text", text, answer, tokens)
        else:
            tokens = tokenizer.count(text) + tokenizer.count(row.label) + 2 * MESSAGE_TOKENS
            yield Entry("chat", text, row.label, tokens)


class _Tokenizer:
    """Counts a base model's tokens, and knows its marks, by which a text could end its message and begin another.

    Without a tokenizer.json each byte counts as a token, which none exceeds, and no mark is known.
    """

    def __init__(self, base: Path) -> None:
        self.count: Callable[[str], int] = lambda text: len(text.encode())
        self.marks: tuple[str, ...] = ()
        file = base / "tokenizer.json"
        if file.is_file():
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(file))
            tokenizer.no_truncation()
            tokenizer.no_padding()
            self.count = lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
            self.marks = tuple(t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special)
