"""Signatures in the store: computed once, valid as long as what is common stays so, and equal to new ones."""

import random

import numpy as np
import pyarrow as pa
import pytest

from core.db import fingerprints
from core.db.store import Store
from feedback import fingerprints as module
from feedback.duplicates import clusters
from feedback.fingerprints import stored_clusters
from feedback.snapshot import choose_clusters

INSTRUCTION = "Is this review positive or negative?"


def reviews(first: int, last: int, instruction: str = INSTRUCTION) -> list[str]:
    """Reviews with an instruction; each third one repeats the one before it with an exclamation mark."""
    found = []
    for n in range(first, last):
        words = random.Random(n - (n % 3 == 2)).choices([f"word{k}" for k in range(3000)], k=12)
        found.append(f"{instruction}\n{' '.join(words)}{'!' if n % 3 == 2 else ''}")
    return found


def ids(count: int) -> pa.Array:
    return pa.array([f"i{n}" for n in range(count)])


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(((a[:, None] == a) == (b[:, None] == b)).all())


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many signatures were computed in each call."""
    counts: list[int] = []
    real = module.signatures
    monkeypatch.setattr(module, "signatures", lambda texts, common: (counts.append(len(texts)), real(texts, common))[1])
    return counts


def test_new_prompts_cost_only_themselves(computed: list[int]):
    store, prompts = Store(":memory:"), reviews(0, 90)
    stored_clusters(store, "reviews", ids(60), prompts[:60])
    found = stored_clusters(store, "reviews", ids(90), prompts)
    assert computed == [60, 30]
    assert same_partition(found, clusters(prompts))
    assert len(set(found.tolist())) == 60


def test_the_same_interactions_in_another_order_have_the_same_clusters(computed: list[int]):
    store, prompts = Store(":memory:"), reviews(0, 60)
    first = stored_clusters(store, "reviews", ids(60), prompts)
    second = stored_clusters(store, "reviews", pa.array(ids(60).to_pylist()[::-1]), prompts[::-1])
    assert computed == [60, 0]
    assert same_partition(first, second[::-1])


def test_another_instruction_makes_new_signatures(computed: list[int]):
    store, prompts = Store(":memory:"), reviews(0, 60)
    stored_clusters(store, "reviews", ids(60), prompts)
    prompts += reviews(60, 180, "Name the reason for which the customer of the shop sent this article back:")
    found = stored_clusters(store, "reviews", ids(180), prompts)
    assert computed == [60, 180]
    assert same_partition(found, clusters(prompts))
    stored = fingerprints.common(store, model="reviews")
    assert stored is not None
    assert stored.version == 2
    assert len(fingerprints.find(store, model="reviews", version=1, interactions=ids(180))) == 0


def test_models_have_signatures_of_their_own(computed: list[int]):
    store, prompts = Store(":memory:"), reviews(0, 30)
    stored_clusters(store, "reviews", ids(30), prompts)
    stored_clusters(store, "notes", ids(30), prompts)
    stored_clusters(store, "reviews", ids(30), prompts)
    assert computed == [30, 30, 0]


def test_no_prompts_have_no_clusters():
    assert stored_clusters(Store(":memory:"), "reviews", pa.array([], pa.string()), []).tolist() == []


def test_prompts_that_cannot_be_encoded_are_taken():
    assert len(set(stored_clusters(Store(":memory:"), "reviews", ids(2), ["a \ud800", "b \ud800"]).tolist())) == 2


@pytest.mark.parametrize(("similarity", "texts"), [(None, 3), (0.8, 2)])
def test_near_duplicates_are_found_where_a_similarity_is_set(similarity: float | None, texts: int):
    prompts = [
        "The hinge broke in a week.",
        "the hinge  broke in a week.",
        "Classify: The hinge broke in a week!",
        "No.",
    ]
    clusters = choose_clusters(Store(":memory:"), "reviews", similarity)
    assert len(set(clusters(ids(4), prompts).tolist())) == texts
