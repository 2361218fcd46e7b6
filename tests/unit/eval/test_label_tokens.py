"""Facts about label tokens: which tokens an engine is queried for, and that probabilities add up to at most one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import AmbiguousLabels
from eval.measure.label_tokens import build_token_trie, log_probabilities


def by_letters(text: str) -> tuple[int, ...]:
    return tuple(ord(letter) for letter in text)


def by_words(text: str) -> tuple[int, ...]:
    return tuple(sum(map(ord, word)) for word in text.split())


def test_answers_that_begin_differently_need_one_look():
    (root,) = build_token_trie(["good", "bad", "fine"], [0, 1, 2], by_letters)
    assert root.prefix == "" and root.tokens == tuple(map(ord, "gbf"))
    assert log_probabilities([root], [[-1.0, -2.0, -3.0]], 3) == [-1.0, -2.0, -3.0]


def test_answers_that_begin_alike_are_parted_where_they_part_and_nowhere_else():
    root, fork = build_token_trie(["very good", "very bad", "fine"], [0, 1, 2], by_letters)
    assert root.tokens == (ord("v"), ord("f"))
    assert fork.prefix == "very " and fork.tokens == (ord("g"), ord("b"))
    found = log_probabilities([root, fork], [[math.log(0.6), math.log(0.4)], [math.log(0.25), math.log(0.75)]], 3)
    assert [round(math.exp(value), 6) for value in found] == [0.15, 0.45, 0.4]


def test_an_answer_that_ends_where_another_goes_on_gets_what_that_leaves():
    root, fork = build_token_trie(["not", "not stated"], [0, 1], by_words)
    assert root.tokens == by_words("not") and fork.prefix == "not"
    found = log_probabilities([root, fork], [[math.log(0.5)], [math.log(0.2)]], 2)
    assert [round(math.exp(value), 6) for value in found] == [0.4, 0.1]


def test_answers_that_mean_the_same_are_not_distinguished():
    (root,) = build_token_trie(["I cannot", "I can't", "Sure"], [0, 0, 1], by_letters)
    first, second, sure = log_probabilities([root], [[math.log(0.6), math.log(0.1)]], 3)
    assert math.exp(first) + math.exp(second) == pytest.approx(0.6)
    assert math.exp(sure) == pytest.approx(0.1)


def test_answers_that_are_the_same_tokens_are_refused_by_name():
    with pytest.raises(AmbiguousLabels, match="'a  b' and 'a b' are the same"):
        build_token_trie(["a  b", "a b"], [0, 1], by_words)


def test_an_answer_without_tokens_is_refused():
    with pytest.raises(AmbiguousLabels, match="has no token"):
        build_token_trie(["good", " "], [0, 1], by_words)


@given(st.lists(st.text("abc", min_size=1, max_size=5), min_size=2, max_size=8, unique=True))
def test_all_answers_together_never_hold_more_than_everything(answers: list[str]):
    tree = build_token_trie(answers, list(range(len(answers))), by_letters)
    scores = []
    for fork in tree:
        weights = [0.01 + ord(str(token)[-1]) / 100 for token in fork.tokens]
        total = sum(weights) * 1.1
        scores.append([math.log(weight / total) for weight in weights])
    found = log_probabilities(tree, scores, len(answers))
    assert sum(math.exp(value) for value in found) <= 1 + 1e-9
    assert all(value < 0 for value in found)
