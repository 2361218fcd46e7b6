"""Facts about the words of lost items: how they are counted, and that none is of one person."""

from typing import cast

import numpy as np
import pytest
from scipy.stats import fisher_exact

from eval.kpis.common_words import FEWEST_PEOPLE, LEVEL, CommonWord, common_words, single_words


def words_of(lost: list[str], rest: list[str], voters: list[str] | None = None, askers: list[str] | None = None):
    texts = [*lost, *rest]
    people = [f"u{n}" for n in range(len(texts))]
    chosen = np.arange(len(texts)) < len(lost)
    return common_words([set(single_words(text)) for text in texts], voters or people, askers or people, chosen)


def test_a_word_of_the_lost_items_has_the_counts_of_both_sides():
    lost = ["my refund is late"] * 14 + ["my parcel is late"] * 6
    rest = ["my parcel is late"] * 87 + ["a refund please"] * 3
    assert words_of(lost, rest) == (CommonWord("refund", 14, 20, 3, 90),)


def test_the_statistic_is_fishers_exact_test_over_all_words():
    for b in range(0, 40, 3):
        found = words_of(["refund late"] * 8 + ["late"] * 12, ["refund late"] * b + ["late"] * (60 - b))
        _, chance = cast(tuple[float, float], fisher_exact([[8, 12], [b, 60 - b]], alternative="greater"))
        # Two words are tested: "refund" and "late".
        assert [one.word for one in found] == (["refund"] if 2 * chance <= LEVEL else [])


def test_words_of_items_that_are_lost_by_chance_are_rare():
    """300 voters lose 20 items at random. Each of 300 words is in 8% of the prompts."""
    voters, shown = [f"u{n}" for n in range(300)], 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        has = rng.random((300, 300)) < 0.08
        words = [{f"w{word}" for word in np.flatnonzero(row)} for row in has]
        shown += bool(common_words(words, voters, voters, rng.permutation(300) < 20))
    # 5% of 40 runs are 2, and more than 5 have a chance of 1.4%.
    assert shown <= 5


def test_a_word_needs_several_voters_and_several_askers():
    lost, rest = ["secretname order"] * 20, ["order"] * 80
    few = [f"u{n % (FEWEST_PEOPLE - 1)}" for n in range(20)]
    others = [f"v{n}" for n in range(80)]
    many = [f"u{n}" for n in range(20)]
    assert [one.word for one in words_of(lost, rest)] == ["secretname"]
    assert words_of(lost, rest, voters=few + others) == ()
    assert words_of(lost, rest, askers=few + others) == ()
    # Unknown askers count as one.
    assert words_of(lost, rest, voters=many + others, askers=[""] * 100) == ()


def test_one_voter_with_many_items_counts_once():
    lost, rest = ["refund"] * 30 + ["hello"] * 20, ["hello"] * 50
    voters = ["one"] * 26 + [f"u{n}" for n in range(24)] + [f"v{n}" for n in range(50)]
    assert words_of(lost, rest, voters=voters) == (CommonWord("refund", 5, 25, 0, 50),)


@pytest.mark.parametrize(("lost", "rest"), [([], []), (["a refund"] * 20, []), ([], ["a refund"] * 20)])
def test_without_lost_items_or_others_there_are_no_words(lost: list[str], rest: list[str]):
    assert words_of(lost, rest) == ()


def test_numbers_addresses_long_runs_and_scripts_without_spaces_are_no_words():
    text = "Refund 4711 a1b2 me@shop.example " + "x" * 31 + " 请退款谢谢 ありがとう Größe straße"
    assert single_words(text) == ["refund", "shop", "example", "größe", "straße"]


def test_a_long_prompt_is_read_from_its_beginning():
    assert single_words("late " * 10_000) == ["late"] * 800


def test_words_have_their_combining_marks():
    assert single_words("कृपया मेरा पार्सल ढूँढिए, बहुत देर") == ["कृपया", "मेरा", "पार्सल", "ढूँढिए", "बहुत", "देर"]
