"""Facts about KPIs of texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.kpis.text import REFERENCE, chrf, exact_match, token_f1


@pytest.mark.parametrize(("answer", "same"), [("paris", 1), (" Paris. ", 1), ("Paris, France", 0), ("", 0), ("!", 0)])
def test_an_exact_match_looks_past_case_and_punctuation(answer: str, same: int):
    assert exact_match(answer, "Paris") == same


def test_texts_without_words_match_only_themselves():
    assert exact_match("?!", "?!") == 1
    assert exact_match("?!", "!?") == 0


def test_token_f1_counts_each_word_as_often_as_it_occurs():
    assert token_f1("the cat sat", "the cat") == pytest.approx(2 * 2 / 5)
    assert token_f1("a a a", "a") == pytest.approx(2 * 1 / 4)
    assert token_f1("", "a") == 0


def test_chrf_is_the_f_score_of_letters_worked_out_by_hand():
    # "abc" against "abd": order 1 shares 2 of 3, order 2 shares 1 of 2, order 3 shares 0 of 1.
    rate = (2 / 3 + 1 / 2 + 0) / 3
    assert chrf("abc", "abd") == pytest.approx(rate)
    # Answer twice as long: precision halves, recall is whole, and recall counts twice.
    precision = 2 / 4
    assert chrf("aabb", "ab") == pytest.approx(5 * (precision + 1 / 3) / 2 / (4 * (precision + 1 / 3) / 2 + 1))


@given(st.text(max_size=30), st.text(max_size=30))
def test_every_kpi_is_a_share_and_a_text_equals_itself(one: str, other: str):
    for kpi, worth in REFERENCE.items():
        assert 0 <= worth(one, other) <= 1 + 1e-12, kpi
        if one.strip() and any(letter.isalnum() for letter in one):
            assert worth(one, one) == pytest.approx(1), kpi
