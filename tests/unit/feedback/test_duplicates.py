"""Near-duplicates: which texts are the same in any order, and which are not."""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback import duplicates
from feedback.duplicates import clusters, clusters_of, minima, signatures
from feedback.shingles import NOTHING, Shingles, find_common

WORDS = [
    f"{a}{b}{c}" for a in "bdfglmnprstv" for b in ("a", "e", "i", "o", "ua") for c in ("k", "lt", "n", "rs", "sh", "m")
]
QUESTION = "Is this review positive, neutral or negative? Answer with one word."


def document(number: int, words: int = 120) -> str:
    """A text that has almost nothing in common with another number's."""
    return " ".join(random.Random(number).choices(WORDS, k=words))


def together(texts: list[str], similarity: float = 0.8) -> set[frozenset[int]]:
    """The clusters as sets of places in the list."""
    return partition(clusters(texts, similarity), range(len(texts)))


def partition(numbers: Sequence[int] | np.ndarray, places: Sequence[int]) -> set[frozenset[int]]:
    found: dict[int, set[int]] = {}
    for number, place in zip(numbers, places, strict=True):
        found.setdefault(int(number), set()).add(place)
    return {frozenset(group) for group in found.values()}


def largest(texts: list[str]) -> int:
    return max(Counter(clusters(texts).tolist()).values())


def test_an_exclamation_mark_or_a_first_word_makes_no_other_text():
    found = clusters(
        [
            "The hinge broke in a week.",
            "The hinge broke in a week!",
            "Classify: The hinge broke in a week.",
            "The screen arrived with a crack.",
        ]
    )
    assert len(set(found[:3].tolist())) == 1
    assert found[3] != found[0]


@pytest.mark.parametrize("form", ["{document}\n{question}", "{question}\n{document}", "{question} {document} Answer:"])
def test_documents_with_the_same_question_are_different_texts(form: str):
    texts = [form.format(document=document(n), question=QUESTION) for n in range(300)]
    assert largest(texts) == 1


def test_short_reviews_with_the_same_long_instruction_are_different_texts():
    instruction = document(-1, 300)
    assert largest([f"{instruction}\n{document(n, 6)}" for n in range(200)]) == 1


def test_a_long_instruction_of_a_small_part_of_the_prompts_makes_no_duplicates():
    instruction = document(-1, 300)
    texts = [f"{instruction}\n{document(n, 12)}" for n in range(30)] + [document(n, 100) for n in range(30, 900)]
    assert largest(texts) == 1


def test_chats_whose_last_turn_is_yes_are_different_texts():
    assert largest([f"{document(n, 15)}\nShall I do that?\nyes" for n in range(300)]) == 1
    assert largest([f"I want to send parcel {n} back.\nShall I book it?\nyes" for n in range(300)]) == 1


def test_the_same_document_by_chat_and_with_a_template_is_one_text():
    chats = [document(n, 7 + n % 90) for n in range(100)]
    completions = [f"Classify the review as positive or negative.\nReview: {text}\nSentiment:" for text in chats]
    assert together(chats + completions) == {frozenset({n, n + 100}) for n in range(100)}


def test_the_same_question_about_documents_that_are_asked_about_often_is_not_one_text():
    questions = [document(-n, 9) for n in range(1, 31)]
    texts = [f"{document(n)}\n{question}" for n in range(20) for question in questions]
    assert largest(texts) == 1


def test_another_number_is_another_text():
    assert largest([f"What is {n} plus {m}?" for n in range(10, 30) for m in range(n, 30)]) == 1


def test_a_long_text_with_some_words_changed_is_the_same_text():
    words = document(1, 200).split()
    changed = words.copy()
    changed[20:24] = ["other", "words", "are", "here"]
    half = words[:100] + document(2, 100).split()
    assert together([" ".join(words), " ".join(changed), " ".join(half)]) == {frozenset({0, 1}), frozenset({2})}


def test_similarity_is_the_least_that_joins():
    words = document(1, 100).split()
    texts = [" ".join(words), " ".join(words[:80] + document(2, 20).split())]
    assert together(texts, 0.5) == {frozenset({0, 1})}
    assert together(texts, 0.8) == {frozenset({0}), frozenset({1})}


def test_texts_without_words_are_compared_whole():
    texts = ["", "...", "!?", "👍", "👎", "\ud800", "...", "你好", "再见"]
    assert together(texts) == {frozenset({1, 6}), *(frozenset({n}) for n in (0, 2, 3, 4, 5, 7, 8))}


def test_case_and_compatible_characters_make_no_other_text():
    assert len(set(clusters(["Die Straße ist neu.", "DIE STRASSE IST NEU", "Die Ｓtraße  ist neu"]).tolist())) == 1


def test_arrow_arrays_are_taken():
    assert clusters(pa.array(["one text", "One text!"])).tolist() == [0, 0]
    assert clusters(pa.array([], pa.string())).tolist() == []


def variants(rng: random.Random) -> list[str]:
    """Texts in families, whose members differ a little, with a template in part of them."""
    texts = []
    for family in range(rng.randint(1, 12)):
        words = document(family, rng.choice([2, 5, 8, 30])).split()
        for _ in range(rng.randint(1, 6)):
            own = [word if rng.random() > 0.04 else rng.choice(WORDS) for word in words]
            texts.append(("Classify: " if rng.random() < 0.5 else "") + " ".join(own))
    return texts


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_texts_changes_nothing(seed: int):
    rng = random.Random(seed)
    texts = variants(rng)
    order = rng.sample(range(len(texts)), len(texts))
    assert partition(clusters([texts[n] for n in order]), order) == together(texts)


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_more_texts_never_divide_a_cluster(seed: int):
    rng = random.Random(seed)
    texts = variants(rng)
    common, part = find_common(texts), rng.randint(1, len(texts))
    few = clusters_of(signatures(texts[:part], common), 0.8)
    many = clusters_of(signatures(texts, common), 0.8)
    assert all(many[a] == many[b] for a in range(part) for b in range(part) if few[a] == few[b])


def test_large_groups_have_the_clusters_of_small_ones(monkeypatch: pytest.MonkeyPatch):
    texts = [f"{document(n % 3, 40)} {document(n, 2 + n % 9)}" for n in range(100)]
    found = signatures(texts, NOTHING)
    large = partition(clusters_of(found, 0.8), range(100))
    monkeypatch.setattr(duplicates, "SMALL_GROUP", 1000)
    assert partition(clusters_of(found, 0.8), range(100)) == large
    assert 3 <= len(large) < 100


def test_minima_are_those_of_datasketch():
    hashes = np.random.default_rng(0).integers(0, 1 << 32, 500, np.uint32)
    starts = np.array([0, 1, 200])
    found = minima(Shingles(hashes, starts, np.arange(3)))
    for row, part in zip(found, np.split(hashes, starts[1:]), strict=True):
        theirs = MinHash(128, seed=1, hashfunc=int, scheme="affine32")
        theirs.update_batch(part.tolist())
        assert row.tolist() == theirs.hashvalues.tolist()


def test_the_sample_of_what_is_common_depends_on_the_set_alone():
    texts = [f"{QUESTION}\n{document(n, 8)}" for n in range(100)]
    one, other = find_common(texts), find_common([*reversed(texts), *texts])
    assert len(one.template)
    assert one.template.tolist() == other.template.tolist()


def test_few_texts_have_nothing_in_common_but_themselves():
    assert find_common([f"The hinge broke in week {n}." for n in range(19)]) is NOTHING
