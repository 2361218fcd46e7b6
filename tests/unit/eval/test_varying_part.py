"""Facts about baselines of apps whose last message is the same in each request: they read what differs."""

import random
from pathlib import Path

from core.prompts import Chat
from core.settings import ModelSettings
from eval.arm_definitions import Item
from eval.baselines import tfidf_probabilities
from eval.retrieval_corpus import gather, without_prompts
from feedback.snapshot import Report, Row, Snapshot
from serve.retrieval.retriever import Retriever

GOOD, BAD = ("lovely", "quick", "solid", "bright"), ("broken", "late", "torn", "dull")
REST = [f"{a}{b}{c}" for a in "bdfglmnprstv" for b in ("a", "e", "i", "o") for c in ("k", "lt", "n", "rs")]
SETTINGS = ModelSettings.model_validate({"labels": ["bad", "good"], "baselines": {"rag_examples": 1}})
QUESTION = "Is the customer pleased? Answer with one word."


def asked(number: int) -> Chat:
    """A document with one word that says the label, and then always the same question."""
    draw = random.Random(number)
    word = draw.choice((BAD, GOOD)[number % 2])
    return Chat((("user", f"{' '.join(draw.choices(REST, k=9))} {word}"), ("user", QUESTION)))


def snapshot(count: int) -> Snapshot:
    rows = tuple(Row(f"i{n}", f"f{n}", f"u{n}", "train", asked(n), ("bad", "good")[n % 2]) for n in range(count))
    return Snapshot("s", Path("s"), rows, Report({}, {}, {}, {}, {}, {}))


def test_tfidf_reads_the_document_before_the_question() -> None:
    items = [Item(f"i{n}", f"u{n}", asked(n), n % 2) for n in range(200, 260)]
    found = tfidf_probabilities(snapshot(200), items, SETTINGS).argmax(axis=1)
    assert sum(found == [item.truth for item in items]) >= 57


def test_retrieval_shows_documents_and_finds_the_nearest(tmp_path: Path) -> None:
    retrieval = gather(snapshot(60), SETTINGS, tmp_path).retrieval
    assert retrieval.entries[7].text == asked(7).messages[0][1]
    assert "customer" in retrieval.ignored
    near = Chat((("user", f"{asked(7).messages[0][1]} indeed"), ("user", QUESTION)))
    shown = Retriever(retrieval).rewrite(near)
    assert isinstance(shown, Chat)
    assert ("user", asked(7).messages[0][1]) in shown.messages
    assert ("assistant", "good") in shown.messages


def test_an_example_is_found_again_by_its_whole_prompt(tmp_path: Path) -> None:
    retrieval = gather(snapshot(30), SETTINGS, tmp_path).retrieval
    left = without_prompts(retrieval, [asked(3), asked(5)])
    assert [entry for entry in retrieval.entries if entry not in left.entries] == [
        retrieval.entries[3],
        retrieval.entries[5],
    ]
